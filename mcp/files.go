package mcp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"io/fs"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	daytona "daytona/sdk/go"
)

// maxDownload bounds what a conversation is given of a file.
const maxDownload = 8 << 20

type uploadInput struct {
	ID        string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	FilePath  string `json:"filePath" jsonschema:"Path to the file to upload. Files should always be uploaded to the /tmp directory if the user doesn't say otherwise"`
	Content   string `json:"content" jsonschema:"Content of the file to upload"`
	Encoding  string `json:"encoding" jsonschema:"Encoding of the content: text or base64"`
	Overwrite bool   `json:"overwrite" jsonschema:"Overwrite the file if it already exists"`
}

type fileInput struct {
	ID       string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	FilePath string `json:"filePath" jsonschema:"Path to the file"`
}

type listInput struct {
	ID   string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Path string `json:"path,omitempty" jsonschema:"Path to the directory (default: the work directory)"`
}

type moveInput struct {
	ID         string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	SourcePath string `json:"sourcePath" jsonschema:"Source path of the file to move"`
	DestPath   string `json:"destPath" jsonschema:"Destination path where to move the file"`
}

type folderInput struct {
	ID         string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	FolderPath string `json:"folderPath" jsonschema:"Path to the folder to create"`
	Mode       string `json:"mode,omitempty" jsonschema:"Mode of the folder to create"`
}

type findInput struct {
	ID      string `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Path    string `json:"path,omitempty" jsonschema:"Directory to look in (default: the work directory)"`
	Pattern string `json:"pattern" jsonschema:"For find_in_files a text, for search_files a pattern of names such as *.py"`
}

type replaceInput struct {
	ID       string   `json:"id,omitempty" jsonschema:"ID of the sandbox (default: the one that is kept for this conversation)"`
	Files    []string `json:"files" jsonschema:"Paths of the files to change"`
	Pattern  string   `json:"pattern" jsonschema:"Text to replace, wherever it stands"`
	NewValue string   `json:"newValue" jsonschema:"Text to put in its place"`
}

type filesOutput struct {
	Files []daytona.FileInfo `json:"files"`
}
type namesOutput struct {
	Files []string `json:"files"`
}
type matchesOutput struct {
	Matches []daytona.Match `json:"matches"`
}
type replacedOutput struct {
	Files []daytona.Replaced `json:"files"`
}

func (k *keeper) fileTools(s *sdk.Server) {
	tool(s, "file_upload", "Upload File", "Upload a file to the sandbox, as text or from base64. Directories above it are made", destroys, nil, k.upload)
	tool(s, "file_download", "Download File", "Download a file from the sandbox. Returns its text, or a picture", reads, nil, k.download)
	tool(s, "get_file_info", "Get File Info", "Get information about a file in the sandbox", reads, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in fileInput) (*sdk.CallToolResult, daytona.FileInfo, error) {
			var info daytona.FileInfo
			sb, err := k.at(ctx, req, in.ID, in.FilePath, "filePath parameter is required")
			if err == nil {
				info, err = sb.Files.Info(ctx, in.FilePath)
			}
			return asJSON(info), info, err
		})
	tool(s, "list_files", "List Files", "List files in a directory of the sandbox", reads,
		func(s *jsonschema.Schema) { s.Properties["path"].Default = []byte(`"."`) },
		func(ctx context.Context, req *sdk.CallToolRequest, in listInput) (*sdk.CallToolResult, filesOutput, error) {
			out := filesOutput{Files: []daytona.FileInfo{}}
			sb, err := k.sandbox(ctx, req, in.ID)
			if err == nil {
				out.Files, err = sb.Files.List(ctx, orDot(in.Path), 1)
			}
			return asJSON(out.Files), out, err
		})
	tool(s, "move_file", "Move File", "Move or rename a file in the sandbox", destroys, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in moveInput) (*sdk.CallToolResult, any, error) {
			sb, err := k.at(ctx, req, in.ID, in.SourcePath, "sourcePath parameter is required")
			if err == nil {
				err = required(in.DestPath, "destPath parameter is required")
			}
			if err == nil {
				err = sb.Files.Move(ctx, in.SourcePath, in.DestPath)
			}
			return text("Moved file from %s to %s", in.SourcePath, in.DestPath), nil, err
		})
	tool(s, "delete_file", "Delete File", "Delete a file or directory in the sandbox", destroys, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in fileInput) (*sdk.CallToolResult, any, error) {
			sb, err := k.at(ctx, req, in.ID, in.FilePath, "filePath parameter is required")
			if err == nil {
				err = sb.Files.Remove(ctx, in.FilePath, true)
			}
			return text("Deleted file: %s", in.FilePath), nil, err
		})
	tool(s, "create_folder", "Create Folder", "Create a folder in the sandbox", adds,
		func(s *jsonschema.Schema) { s.Properties["mode"].Default = []byte(`"0755"`) },
		func(ctx context.Context, req *sdk.CallToolRequest, in folderInput) (*sdk.CallToolResult, any, error) {
			mode := uint64(0o755)
			var err error
			if in.Mode != "" {
				if mode, err = strconv.ParseUint(in.Mode, 8, 12); err != nil {
					return nil, nil, fmt.Errorf("mode %q is not octal: write 0755", in.Mode)
				}
			}
			sb, err := k.at(ctx, req, in.ID, in.FolderPath, "folderPath parameter is required")
			if err == nil {
				err = sb.Files.MkdirAll(ctx, in.FolderPath, fs.FileMode(mode))
			}
			return text("Created folder: %s", in.FolderPath), nil, err
		})
	tool(s, "find_in_files", "Find in Files", "Find the lines of files in the sandbox that contain a text", reads, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in findInput) (*sdk.CallToolResult, matchesOutput, error) {
			out := matchesOutput{Matches: []daytona.Match{}}
			sb, err := k.at(ctx, req, in.ID, in.Pattern, "pattern parameter is required")
			if err == nil {
				out.Matches, err = sb.Files.Find(ctx, orDot(in.Path), in.Pattern)
			}
			return asJSON(out.Matches), out, err
		})
	tool(s, "search_files", "Search Files", "Find files in the sandbox by their names", reads, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in findInput) (*sdk.CallToolResult, namesOutput, error) {
			out := namesOutput{Files: []string{}}
			sb, err := k.at(ctx, req, in.ID, in.Pattern, "pattern parameter is required")
			if err == nil {
				out.Files, err = sb.Files.Search(ctx, orDot(in.Path), in.Pattern)
			}
			return asJSON(out.Files), out, err
		})
	tool(s, "replace_in_files", "Replace in Files", "Replace a text in files of the sandbox, wherever it stands", destroys, nil,
		func(ctx context.Context, req *sdk.CallToolRequest, in replaceInput) (*sdk.CallToolResult, replacedOutput, error) {
			out := replacedOutput{Files: []daytona.Replaced{}}
			sb, err := k.at(ctx, req, in.ID, in.Pattern, "pattern parameter is required")
			if err == nil {
				out.Files, err = sb.Files.Replace(ctx, in.Files, in.Pattern, in.NewValue)
			}
			return asJSON(out.Files), out, err
		})
}

// at checks a parameter and returns the sandbox.
func (k *keeper) at(ctx context.Context, req *sdk.CallToolRequest, id, value, message string) (*daytona.Sandbox, error) {
	if err := required(value, message); err != nil {
		return nil, err
	}
	return k.sandbox(ctx, req, id)
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

func (k *keeper) upload(ctx context.Context, req *sdk.CallToolRequest, in uploadInput) (*sdk.CallToolResult, daytona.FileInfo, error) {
	var info daytona.FileInfo
	data := []byte(in.Content)
	if strings.EqualFold(in.Encoding, "base64") {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.TrimSpace(in.Content)); err != nil {
			return nil, info, fmt.Errorf("content is not base64: %w", err)
		}
	}
	sb, err := k.at(ctx, req, in.ID, in.FilePath, "filePath parameter is required")
	if err != nil {
		return nil, info, err
	}
	if !in.Overwrite {
		_, err := sb.Files.Info(ctx, in.FilePath)
		if err == nil {
			return nil, info, fmt.Errorf("file '%s' already exists and overwrite=false", in.FilePath)
		}
		if !errors.Is(err, daytona.ErrNotFound) {
			return nil, info, err
		}
	}
	if err := sb.Files.WriteFile(ctx, in.FilePath, data); err != nil {
		return nil, info, err
	}
	info, err = sb.Files.Info(ctx, in.FilePath)
	return text("File uploaded successfully: %s", in.FilePath), info, err
}

func (k *keeper) download(ctx context.Context, req *sdk.CallToolRequest, in fileInput) (*sdk.CallToolResult, any, error) {
	sb, err := k.at(ctx, req, in.ID, in.FilePath, "filePath parameter is required")
	if err != nil {
		return nil, nil, err
	}
	body, size, err := sb.Files.Open(ctx, in.FilePath)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	tooLarge := fmt.Errorf("%s has more than %d MiB, too much for a conversation: read parts of it with execute_command", in.FilePath, maxDownload>>20)
	if size > maxDownload {
		return nil, nil, tooLarge
	}
	data, err := io.ReadAll(io.LimitReader(body, maxDownload+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxDownload {
		return nil, nil, tooLarge
	}
	return &sdk.CallToolResult{Content: []sdk.Content{content(in.FilePath, data)}}, nil, nil
}

// content shows a file: a picture as one, text as text, the rest as a resource.
func content(name string, data []byte) sdk.Content {
	kind := http.DetectContentType(data)
	switch strings.ToLower(path.Ext(name)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".webp":
		if strings.HasPrefix(kind, "image/") {
			return &sdk.ImageContent{Data: data, MIMEType: kind}
		}
	}
	if utf8.Valid(data) {
		return &sdk.TextContent{Text: string(data)}
	}
	return &sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: "file://" + path.Join("/", name), MIMEType: kind, Blob: data}}
}
