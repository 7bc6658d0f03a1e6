package process

import "strings"

// splitLegacy splits a command as the first era's server did: at spaces, where
// single and double quotes group and are themselves removed. There are no
// escapes, nothing is expanded, and inside one kind of quote the other is text.
// Old clients build their commands for exactly this.
func splitLegacy(command string) []string {
	var (
		args  []string
		word  strings.Builder
		begun bool // there is a word, though perhaps an empty one: ''
		quote byte
	)
	for i := range len(command) {
		c := command[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ':
			if begun {
				args = append(args, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		args = append(args, word.String())
	}
	return args
}

// isWrapped reports whether an old client has wrapped this command for
// splitLegacy.
func isWrapped(command string) bool {
	return strings.HasPrefix(strings.TrimLeft(command, " "), "sh -c ")
}
