package daytona

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

var heredoc = regexp.MustCompile(`<<-?\s*['"]?([A-Za-z_][A-Za-z0-9_]*)['"]?`)

// copySources returns what the COPY and ADD lines of a Dockerfile take from
// the build's context: not what comes from another stage, a URL or a heredoc.
// A source with a variable stands for the whole context, since what it will be
// is known to the build alone.
func copySources(text string) ([]string, error) {
	var sources []string
	for _, line := range instructions(text) {
		name, rest, _ := strings.Cut(line, " ")
		name = strings.ToUpper(name)
		if name != "COPY" && name != "ADD" {
			continue
		}
		words, elsewhere, err := operands(rest)
		if err != nil {
			return nil, err
		}
		if elsewhere || len(words) < 2 {
			continue
		}
		for _, word := range words[:len(words)-1] {
			switch {
			case strings.HasPrefix(word, "<<"), name == "ADD" && strings.Contains(word, "://"), name == "ADD" && strings.HasPrefix(word, "git@"):
			case strings.Contains(word, "$"):
				sources = append(sources, ".")
			default:
				sources = append(sources, word)
			}
		}
	}
	return sources, nil
}

// instructions joins continued lines, and leaves out comments and heredocs.
func instructions(text string) []string {
	var all []string
	var current strings.Builder
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if before, continued := strings.CutSuffix(line, `\`); continued {
			current.WriteString(before + " ")
			continue
		}
		current.WriteString(line)
		instruction := strings.TrimSpace(strings.ReplaceAll(current.String(), "\t", " "))
		current.Reset()
		all = append(all, instruction)
		for _, match := range heredoc.FindAllStringSubmatch(instruction, -1) {
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != match[1]; i++ {
			}
		}
	}
	if rest := strings.TrimSpace(current.String()); rest != "" {
		all = append(all, rest)
	}
	return all
}

// operands splits what follows COPY or ADD. elsewhere: it takes from another
// stage or image.
func operands(text string) (words []string, elsewhere bool, err error) {
	text = strings.TrimSpace(text)
	for strings.HasPrefix(text, "--") {
		flag, rest, _ := strings.Cut(text, " ")
		elsewhere = elsewhere || strings.HasPrefix(flag, "--from=")
		text = strings.TrimSpace(rest)
	}
	if strings.HasPrefix(text, "[") {
		if json.Unmarshal([]byte(text), &words) != nil {
			return nil, false, errors.New("the list in " + text + " is not JSON")
		}
		return words, elsewhere, nil
	}
	return strings.Fields(text), elsewhere, nil
}
