package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	daytona "daytona/sdk/go"
)

func (a *App) copyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cp [SOURCE] [DESTINATION]",
		Short: "Copy files into or out of a sandbox",
		Long: `Copy a file or a directory into or out of a sandbox. A path in a sandbox is
written SANDBOX:PATH; one that is not absolute counts from the sandbox's work
directory. As with cp, what is copied to a directory that there is goes into it.
"-" is standard input or output.`,
		Example: `  daytona cp data.csv box:work/
  daytona cp box:work/result ./result
  daytona cp box:/etc/os-release -`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, remoteFrom, fromThere := splitRemote(args[0])
			to, remoteTo, toThere := splitRemote(args[1])
			if fromThere == toThere {
				return usage("one of the two is in a sandbox, and is written SANDBOX:PATH")
			}
			if toThere {
				sb, err := a.getStarted(cmd.Context(), to)
				if err != nil {
					return err
				}
				return a.copyIn(cmd.Context(), sb, args[0], remoteTo)
			}
			sb, err := a.getStarted(cmd.Context(), from)
			if err != nil {
				return err
			}
			return a.copyOut(cmd.Context(), sb, remoteFrom, args[1])
		},
	}
	cmd.ValidArgsFunction = a.completeCopy
	return cmd
}

// splitRemote takes SANDBOX:PATH apart. What has a slash before its first colon
// is a local path, and so is a drive letter on Windows.
func splitRemote(arg string) (sandbox, remote string, ok bool) {
	sandbox, remote, ok = strings.Cut(arg, ":")
	if !ok || sandbox == "" || strings.ContainsAny(sandbox, `/\`) || sandbox == "." || sandbox == ".." {
		return "", "", false
	}
	if runtime.GOOS == "windows" && len(sandbox) == 1 {
		return "", "", false
	}
	if remote == "" {
		remote = "."
	}
	return sandbox, remote, true
}

func (a *App) copyIn(ctx context.Context, sb *daytona.Sandbox, local, remote string) error {
	if local == "-" {
		return sb.Files.Write(ctx, remote, a.In)
	}
	info, err := os.Stat(local)
	if err != nil {
		return err
	}
	there, err := sb.Files.Info(ctx, remote)
	switch {
	case err == nil && there.IsDir, strings.HasSuffix(remote, "/"):
		abs, absErr := filepath.Abs(local)
		if absErr != nil {
			return absErr
		}
		remote = path.Join(remote, filepath.Base(abs))
	case err != nil && !errors.Is(err, daytona.ErrNotFound):
		return err
	case err == nil && info.IsDir():
		return fmt.Errorf("%s in the sandbox is a file, and %s a directory", remote, local)
	}
	done := a.spin("Copying")
	defer done()
	if !info.IsDir() {
		return sb.Files.UploadFile(ctx, local, remote)
	}
	if err := sb.Files.MkdirAll(ctx, remote, 0o755); err != nil {
		return err
	}
	return a.copyTreeIn(ctx, sb, local, remote)
}

// copyTreeIn sends a directory in one request.
func (a *App) copyTreeIn(ctx context.Context, sb *daytona.Sandbox, local, remote string) error {
	var walkErr error
	var executable []string
	err := sb.Files.WriteAll(ctx, func(yield func(daytona.Upload) bool) {
		walkErr = filepath.WalkDir(local, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(local, name)
			if err != nil {
				return err
			}
			at := path.Join(remote, filepath.ToSlash(rel))
			info, err := os.Stat(name)
			switch {
			case err != nil:
				return err
			case info.IsDir() && !d.IsDir():
				fmt.Fprintf(a.Err, "not copied: %s is a link to a directory\n", name)
				return nil
			case info.IsDir():
				return sb.Files.MkdirAll(ctx, at, 0o755)
			case !info.Mode().IsRegular():
				fmt.Fprintf(a.Err, "not copied: %s is not a file\n", name)
				return nil
			}
			if info.Mode()&0o100 != 0 && runtime.GOOS != "windows" {
				executable = append(executable, at)
			}
			file, err := os.Open(name)
			if err != nil {
				return err
			}
			defer file.Close()
			if !yield(daytona.Upload{Path: at, From: file}) {
				return fs.SkipAll
			}
			return nil
		})
	})
	for _, at := range executable {
		if err == nil && walkErr == nil {
			err = sb.Files.SetPermissions(ctx, at, daytona.Permissions{Mode: "0755"})
		}
	}
	return errors.Join(walkErr, err)
}

func (a *App) copyOut(ctx context.Context, sb *daytona.Sandbox, remote, local string) error {
	if local == "-" {
		return sb.Files.Read(ctx, remote, a.Out)
	}
	there, err := sb.Files.Info(ctx, remote)
	if err != nil {
		return err
	}
	if info, err := os.Stat(local); err == nil && info.IsDir() || strings.HasSuffix(local, "/") {
		base := path.Base(path.Clean("/" + remote))
		if base == "/" {
			base = sb.Name()
		}
		local = filepath.Join(local, base)
	}
	done := a.spin("Copying")
	defer done()
	if !there.IsDir {
		if err := sb.Files.DownloadFile(ctx, remote, local); err != nil {
			return err
		}
		return keepExecutable(there, local)
	}
	return a.copyTreeOut(ctx, sb, remote, local)
}

func keepExecutable(info daytona.FileInfo, local string) error {
	if len(info.Mode) > 3 && info.Mode[3] == 'x' {
		return os.Chmod(local, 0o755)
	}
	return nil
}

// copyTreeOut fetches a directory, level by level. Names come from the sandbox,
// and may not lead out of where they are put.
func (a *App) copyTreeOut(ctx context.Context, sb *daytona.Sandbox, remote, local string) error {
	if err := os.MkdirAll(local, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(local)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return a.copyLevel(ctx, sb, root, remote, ".")
}

func (a *App) copyLevel(ctx context.Context, sb *daytona.Sandbox, root *os.Root, remote, below string) error {
	entries, err := sb.Files.List(ctx, path.Join(remote, below), 1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !filepath.IsLocal(entry.Name) || strings.ContainsAny(entry.Name, "/\\") {
			fmt.Fprintf(a.Err, "not copied: a file cannot be called %q here\n", entry.Name)
			continue
		}
		at := path.Join(below, entry.Name)
		if entry.IsDir {
			if err := root.MkdirAll(filepath.FromSlash(at), 0o755); err != nil {
				return err
			}
			if err := a.copyLevel(ctx, sb, root, remote, at); err != nil {
				return err
			}
			continue
		}
		if !strings.HasPrefix(entry.Mode, "-") {
			fmt.Fprintf(a.Err, "not copied: %s is not a file\n", path.Join(remote, at))
			continue
		}
		if err := fetch(ctx, sb, root, path.Join(remote, at), filepath.FromSlash(at), entry); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, sb *daytona.Sandbox, root *os.Root, remote, local string, info daytona.FileInfo) error {
	mode := fs.FileMode(0o644)
	if len(info.Mode) > 3 && info.Mode[3] == 'x' {
		mode = 0o755
	}
	_ = root.Remove(local) // a link that lies there is replaced, not followed
	file, err := root.OpenFile(local, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	body, _, err := sb.Files.Open(ctx, remote)
	if err == nil {
		_, err = io.Copy(file, body)
		_ = body.Close()
	}
	return errors.Join(err, file.Close())
}
