package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"daytona/internal/atomicfile"
	daytona "daytona/sdk/go"
)

// completeWithin bounds how long a person waits for names after pressing Tab.
const completeWithin = 2 * time.Second

func noFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// live completes by names that the server knows.
func (a *App) live(cmd *cobra.Command, begin string, names func(ctx context.Context, c *daytona.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	client, err := a.clientAs("cli", daytona.WithRetries(0))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeWithin)
	defer cancel()
	all, err := names(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fitting []string
	for _, name := range all {
		if strings.HasPrefix(name, begin) {
			fitting = append(fitting, name)
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

func (a *App) completeSandboxes(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.live(cmd, begin, sandboxNames)
}

func sandboxNames(ctx context.Context, c *daytona.Client) ([]string, error) {
	var all []string
	for item, err := range c.List(ctx, daytona.Filter{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, fmt.Sprintf("%s\t%s", item.Name, strings.ToLower(string(item.State))))
	}
	return all, nil
}

func (a *App) completeSnapshots(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.live(cmd, begin, func(ctx context.Context, c *daytona.Client) ([]string, error) {
		var all []string
		for snap, err := range c.Snapshots.List(ctx) {
			if err != nil {
				return nil, err
			}
			all = append(all, fmt.Sprintf("%s\t%s", snap.Name, strings.ToLower(string(snap.State))))
		}
		return all, nil
	})
}

// completeCopy offers sandboxes, with their colon, beside local files.
func (a *App) completeCopy(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || strings.ContainsAny(begin, "/.:") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := a.live(cmd, begin, sandboxNames)
	for i, name := range names {
		id, _, _ := strings.Cut(name, "\t")
		names[i] = id + ":"
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

var shells = []string{"bash", "zsh", "fish", "powershell"}

func script(root *cobra.Command, shell string, to io.Writer) error {
	switch shell {
	case "bash":
		var text bytes.Buffer
		if err := root.GenBashCompletionV2(&text, true); err != nil {
			return err
		}
		_, err := io.WriteString(to, withoutPackage(text.String()))
		return err
	case "zsh":
		return root.GenZshCompletion(to)
	case "fish":
		return root.GenFishCompletion(to, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(to)
	}
	return usage("unsupported shell type %q: must be one of %s", shell, strings.Join(shells, ", "))
}

// withoutPackage has a script for bash work also where the package
// bash-completion is not installed, which alone has the function that it calls.
func withoutPackage(script string) string {
	const call = "    _get_comp_words_by_ref \"$@\" cur prev words cword\n"
	return strings.Replace(script, call, `    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    # Bash breaks words at = and :, which are parts of words here.
    local rest=${COMP_LINE:0:COMP_POINT} i part
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ i -eq 0 || $rest == [[:space:]]* || -z $rest ]]; then
            words+=("")
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        part=${COMP_WORDS[i]}
        [[ i -lt COMP_CWORD ]] || part=$rest
        words[${#words[@]}-1]+=$part
        rest=${rest#"$part"}
    done
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=
    ((cword == 0)) || prev=${words[cword-1]}
`, 1)
}

// completionHelper prints a script, for those who keep such files themselves.
func (a *App) completionHelper() *cobra.Command {
	return &cobra.Command{
		Use: "completion [bash|zsh|fish|powershell]", Short: "Print a completion script", Hidden: true,
		Args: cobra.ExactArgs(1), ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error { return script(cmd.Root(), args[0], a.Out) },
	}
}

func (a *App) autocomplete() *cobra.Command {
	return &cobra.Command{
		Use:   "autocomplete [bash|zsh|fish|powershell]",
		Short: "Adds a completion script for your shell environment",
		Long: `Adds a completion script for your shell environment: writes the script into your
home directory, and one line into the file that your shell reads at its start.
Names of sandboxes and snapshots are completed as well.`,
		Args: cobra.ExactArgs(1), ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := os.UserHomeDir()
			if err != nil {
				return err
			}
			if err := installScript(cmd.Root(), args[0], home); err != nil {
				return err
			}
			a.say("Autocomplete script generated and injected successfully.\n Please source your shell's startup file or restart your terminal for the changes to take effect.")
			return nil
		},
	}
}

// installScript writes a shell's script, and the line that reads it, once.
func installScript(root *cobra.Command, shell, home string) error {
	var text bytes.Buffer
	if err := script(root, shell, &text); err != nil {
		return err
	}
	var file, profile, line string
	switch shell {
	case "bash", "zsh":
		file, profile = filepath.Join(home, ".daytona.completion_script."+shell), filepath.Join(home, "."+shell+"rc")
		line = "source " + file
	case "fish":
		dir := filepath.Join(home, ".config", "fish")
		file, profile = filepath.Join(dir, "daytona.completion_script.fish"), filepath.Join(dir, "config.fish")
		line = "source " + file
	default:
		file = filepath.Join(home, "daytona.completion_script.ps1")
		profile = filepath.Join(home, ".config", "powershell", "Microsoft.PowerShell_profile.ps1")
		if runtime.GOOS == "windows" {
			profile = filepath.Join(home, "Documents", "WindowsPowerShell", "Microsoft.PowerShell_profile.ps1")
		}
		line = ". " + file
	}
	if err := os.MkdirAll(filepath.Dir(profile), 0o755); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return err
	}
	old, err := os.ReadFile(profile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, there := range strings.Split(string(old), "\n") {
		if strings.TrimSpace(there) == line {
			return nil
		}
	}
	if len(old) > 0 && !bytes.HasSuffix(old, []byte("\n")) {
		line = "\n" + line
	}
	out, err := os.OpenFile(profile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = out.WriteString(line + "\n")
	return errors.Join(err, out.Close())
}
