package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/huh/v2"
	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// formatFlag adds --format.
func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "format", "f", "", "Output format. Must be one of (yaml, json)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"yaml", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// show prints a value in a format, JSON unless it is YAML.
func (a *App) show(format string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if !strings.EqualFold(format, "yaml") {
		_, err = fmt.Fprintf(a.Out, "%s\n", data)
		return err
	}
	if data, err = toYAML(data); err == nil {
		_, err = a.Out.Write(data)
	}
	return err
}

// Present prints a list: as a table of rows, or the value itself in a format.
func (a *App) Present(format string, value any, headers []string, rows [][]string) error {
	if format != "" {
		return a.show(format, value)
	}
	a.table(headers, rows)
	return nil
}

// FormatFlag adds --format to a command.
func FormatFlag(cmd *cobra.Command, format *string) { formatFlag(cmd, format) }

// toYAML writes JSON as YAML, in its order, with names in lower case, as this
// command line has always printed them.
func toYAML(data []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil { // JSON is YAML
		return nil, err
	}
	plain(&doc, false)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// plain takes JSON's quotes and braces away, and lowers the names of members.
// Names within env and labels are the user's own.
func plain(n *yaml.Node, users bool) {
	n.Style = style(n)
	if n.Kind != yaml.MappingNode {
		for _, child := range n.Content {
			plain(child, users)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		theirs := users || name.Value == "env" || name.Value == "labels"
		if !users {
			name.Value = strings.ToLower(name.Value)
		}
		name.Style = style(name)
		plain(value, theirs)
	}
}

// style keeps the quotes of words that older readers of YAML take for truths.
func style(n *yaml.Node) yaml.Style {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		switch strings.ToLower(n.Value) {
		case "y", "n", "yes", "no", "on", "off":
			return yaml.DoubleQuotedStyle
		}
	}
	return 0
}

// width is how many columns the terminal has.
func (a *App) width() int {
	if f, ok := a.Out.(interface{ Fd() uintptr }); ok && a.Terminal {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// narrow is the width below which a table is shown as blocks.
const narrow = 80

// table prints rows: as a table for a person, and as plain columns otherwise.
func (a *App) table(headers []string, rows [][]string) {
	if !a.Terminal {
		w := tabwriter.NewWriter(a.Out, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, strings.ToUpper(strings.Join(headers, "\t")))
		for _, row := range rows {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		_ = w.Flush()
		return
	}
	width := a.width()
	if width < narrow {
		a.blocks(headers, rows)
		return
	}
	header, cell := lipgloss.NewStyle().Bold(true).Padding(0, 2), lipgloss.NewStyle().Padding(0, 2)
	t := table.New().Headers(headers...).Rows(rows...).
		Border(lipgloss.NormalBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderHeader(true).BorderRow(false).
		StyleFunc(func(row, _ int) lipgloss.Style {
			if row == table.HeaderRow {
				return header
			}
			return cell
		})
	text := t.String()
	if lipgloss.Width(text) > width {
		a.blocks(headers, rows)
		return
	}
	a.print("\n" + text + "\n\n")
}

// blocks prints each row on lines of its own, for a narrow terminal.
func (a *App) blocks(headers []string, rows [][]string) {
	for i, row := range rows {
		if i > 0 {
			a.print("===\n")
		}
		for n, value := range row {
			a.print(fmt.Sprintf("%s: %s\n", a.bold(headers[n]), value))
		}
	}
}

// print writes styled text, without styles where nobody sees them.
func (a *App) print(text string) {
	if !a.colored() {
		text = ansi.Strip(text)
	}
	_, _ = io.WriteString(a.Out, text)
}

func (a *App) colored() bool {
	return a.Terminal && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

func (a *App) bold(text string) string {
	if !a.colored() {
		return text
	}
	return lipgloss.NewStyle().Bold(true).Render(text)
}

// say tells a person what has been done.
func (a *App) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if a.Terminal {
		fmt.Fprintf(a.Out, "\n %s\n\n", a.bold(text))
		return
	}
	fmt.Fprintln(a.Out, strings.ReplaceAll(text, "\n ", "\n"))
}

// details prints lines of name and value below a title.
func (a *App) details(title string, lines [][2]string) {
	longest := 0
	for _, line := range lines {
		longest = max(longest, len(line[0]))
	}
	if a.Terminal {
		fmt.Fprintf(a.Out, "\n %s\n\n", a.bold(title))
	} else {
		fmt.Fprintln(a.Out, title)
	}
	for _, line := range lines {
		if line[1] != "" {
			fmt.Fprintf(a.Out, " %-*s   %s\n", longest, line[0], line[1])
		}
	}
	if a.Terminal {
		fmt.Fprintln(a.Out)
	}
}

// ago says how long ago something was.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "/"
	}
	plural := func(n int, unit string) string {
		if n == 1 {
			return fmt.Sprintf("1 %s ago", unit)
		}
		return fmt.Sprintf("%d %ss ago", n, unit)
	}
	switch d := now.Sub(then); {
	case d < time.Minute:
		return "< 1 minute ago"
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 24*time.Hour:
		return plural(int(d/time.Hour), "hour")
	default:
		return plural(int(d/(24*time.Hour)), "day")
	}
}

// form asks a person.
func (a *App) form(ctx context.Context, fields ...huh.Field) error {
	err := huh.NewForm(huh.NewGroup(fields...)).WithShowHelp(true).RunWithContext(ctx)
	if errors.Is(err, huh.ErrUserAborted) || errors.Is(err, context.Canceled) {
		return ErrCanceled
	}
	return err
}

// confirm asks before something that cannot be undone. Where nobody can be
// asked, yes must have been said beforehand.
func (a *App) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.Interactive {
		return fmt.Errorf("%s Nobody can be asked here: say --yes", question)
	}
	sure := false
	if err := a.form(ctx, huh.NewConfirm().Title(question).Affirmative("Yes").Negative("No").Value(&sure)); err != nil {
		return err
	}
	if !sure {
		return ErrCanceled
	}
	return nil
}

// spin shows that something goes on until done is called: on a terminal alone.
func (a *App) spin(message string) (done func()) {
	if !a.ErrTerminal {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		frames := []rune("⣾⣽⣻⢿⡿⣟⣯⣷")
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				fmt.Fprint(a.Err, "\r\x1b[K")
				return
			case <-tick.C:
				fmt.Fprintf(a.Err, "\r\x1b[K%c %s ...", frames[i%len(frames)], message)
			}
		}
	}()
	return func() {
		select {
		case <-stop:
		default:
			close(stop)
			<-stopped
		}
	}
}
