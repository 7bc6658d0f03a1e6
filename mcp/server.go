// Package mcp lets programs that speak the Model Context Protocol work in
// sandboxes: each tool is a thin call of the Go SDK.
package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	daytona "daytona/sdk/go"
)

// Config is what a server needs.
type Config struct {
	Client  *daytona.Client
	Version string
	// Keep names the sandbox that calls without an id share. Those with the
	// same name share it.
	Keep string
	Log  *slog.Logger
}

const instructions = `Sandboxes are isolated Linux machines in which code runs. Call create_sandbox once and pass the id that it
returns to the other tools. Without an id a tool works in a sandbox that is kept for this conversation and made when it is first
needed. Files persist between calls. Use run_code for programs with charts, execute_command for shell commands that end, start_command for those that go on.`

// New returns a server with every tool.
func New(c Config) *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "Daytona MCP Server", Version: c.Version}, &sdk.ServerOptions{
		Instructions: instructions, Logger: c.Log,
		// Progress is part of an answer, logging of the protocol.
		Capabilities: &sdk.ServerCapabilities{Logging: &sdk.LoggingCapabilities{}, Tools: &sdk.ToolCapabilities{ListChanged: true}, //nolint:staticcheck // agents of the first days look for it
			Prompts: &sdk.PromptCapabilities{}, Resources: &sdk.ResourceCapabilities{}},
	})
	s.AddReceivingMiddleware(otherNames)
	k := &keeper{client: c.Client, name: c.Keep}
	k.sandboxTools(s)
	k.fileTools(s)
	k.commandTools(s)
	k.keptTools(s)
	return s
}

// aliases are names that the documentation has given to tools.
var aliases = map[string]string{"upload_file": "file_upload", "download_file": "file_download"}

// otherNames lets tools and arguments be called as the documentation calls
// them: auto_stop_interval for autoStopInterval.
func otherNames(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		if call, ok := req.(*sdk.CallToolRequest); ok {
			if name, ok := aliases[call.Params.Name]; ok {
				call.Params.Name = name
			}
			call.Params.Arguments = camelCased(call.Params.Arguments)
		}
		return next(ctx, method, req)
	}
}

func camelCased(raw json.RawMessage) json.RawMessage {
	if !slices.Contains(raw, '_') {
		return raw
	}
	var args map[string]json.RawMessage
	if json.Unmarshal(raw, &args) != nil {
		return raw
	}
	for name := range maps.Clone(args) {
		parts := strings.Split(name, "_")
		if len(parts) == 1 {
			continue
		}
		for i := 1; i < len(parts); i++ {
			if parts[i] != "" {
				parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
			}
		}
		camel := strings.Join(parts, "")
		if _, taken := args[camel]; !taken {
			args[camel] = args[name]
			delete(args, name)
		}
	}
	out, err := json.Marshal(args)
	if err != nil {
		return raw
	}
	return out
}

// effect is what a tool does to the world, as its annotations say.
type effect int

const (
	reads     effect = iota // changes nothing
	adds                    // changes, and destroys nothing
	destroys                // may destroy
	repeating               // destroys, and twice is as good as once
)

func (e effect) annotations(title string) *sdk.ToolAnnotations {
	return &sdk.ToolAnnotations{
		Title: title, ReadOnlyHint: e == reads, DestructiveHint: new(e == destroys || e == repeating),
		IdempotentHint: e == reads || e == repeating, OpenWorldHint: new(true),
	}
}

// tool adds a tool. Its result is text, and structured content unless out is
// any. adjust, which may be nil, changes the schema of its input.
func tool[In, Out any](s *sdk.Server, name, title, about string, e effect, adjust func(*jsonschema.Schema),
	do func(ctx context.Context, req *sdk.CallToolRequest, in In) (*sdk.CallToolResult, Out, error)) {
	schema, err := jsonschema.For[In](nil)
	if err != nil {
		panic(fmt.Sprintf("the input of %s: %v", name, err)) // a mistake in this package
	}
	// What is not known is passed over, as servers of this kind do.
	schema.AdditionalProperties = nil
	if adjust != nil {
		adjust(schema)
	}
	sdk.AddTool(s, &sdk.Tool{Name: name, Title: title, Description: about, InputSchema: schema, Annotations: e.annotations(title)},
		func(ctx context.Context, req *sdk.CallToolRequest, in In) (*sdk.CallToolResult, Out, error) {
			res, out, err := do(ctx, req, in)
			return res, out, explain(err)
		})
}

// explain says in an error what to do about it.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "Total CPU quota exceeded"):
		return fmt.Errorf("CPU quota exceeded: destroy sandboxes that are no longer needed, or ask the server's operator for more (%w)", err)
	case errors.Is(err, daytona.ErrUnauthorized):
		return fmt.Errorf("the server does not know this API key: run `daytona login` (%w)", err)
	case errors.Is(err, daytona.ErrUnsupported):
		return fmt.Errorf("%w: do without it, or ask the server's operator for a newer version", err)
	case errors.Is(err, daytona.ErrTimeout):
		return fmt.Errorf("%w. For what takes long use start_command and look with command_logs", err)
	}
	return err
}

// text is a result of one text.
func text(format string, args ...any) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

// asJSON is a result whose text is indented JSON.
func asJSON(value any) *sdk.CallToolResult {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return text("%v", value)
	}
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: string(data)}}}
}

// required says which parameter is missing.
func required(value, message string) error {
	if strings.TrimSpace(value) == "" {
		return errors.New(message)
	}
	return nil
}
