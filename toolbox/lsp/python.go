package lsp

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Kinds of symbols, by the protocol's numbers.
const (
	kindClass    = 5
	kindMethod   = 6
	kindField    = 8
	kindFunction = 12
	kindVariable = 13
)

// pythonSymbols returns the classes, functions and methods of a Python source,
// and the variables of its modules and classes, without their URI. It looks at
// names, indentation and brackets alone, so a file that is being edited and
// does not parse gives what can be seen in it.
func pythonSymbols(text []byte) []Symbol {
	s := pythonScanner{text: text}
	s.scan()
	return s.found
}

type pythonScanner struct {
	text  []byte
	found []Symbol
	open  []block  // the definitions around the present line, outermost first
	ended Position // where the last statement ended
}

// block is a definition whose end has not been seen.
type block struct {
	indent int
	symbol int // index in found
}

// scan goes through the text statement by statement.
func (s *pythonScanner) scan() {
	line, start := 0, 0
	for start < len(s.text) {
		indent, i := indentation(s.text, start)
		if i < len(s.text) && s.text[i] != '\n' && s.text[i] != '\r' && s.text[i] != '#' {
			s.closeTo(indent)
			s.statement(indent, line, start, i)
		}
		line, start = s.skipStatement(line, start, i)
	}
	s.closeTo(-1)
}

// indentation returns the width of the white space that begins at i, and where
// it ends. A tab goes to the next multiple of eight, as Python has it.
func indentation(text []byte, i int) (width, end int) {
	for ; i < len(text); i++ {
		switch text[i] {
		case ' ':
			width++
		case '\t':
			width += 8 - width%8
		case '\f':
			width = 0
		default:
			return width, i
		}
	}
	return width, i
}

// closeTo ends the definitions that a statement of this indentation is not in.
func (s *pythonScanner) closeTo(indent int) {
	for len(s.open) > 0 && s.open[len(s.open)-1].indent >= indent {
		s.found[s.open[len(s.open)-1].symbol].Location.Range.End = s.ended
		s.open = s.open[:len(s.open)-1]
	}
}

// statement notes what a statement defines. It begins at i, in the line that
// begins at start.
func (s *pythonScanner) statement(indent, line, start, i int) {
	word, after := identifierAt(s.text, i)
	if word == "async" {
		_, next := indentation(s.text, after)
		word, after = identifierAt(s.text, next)
	}
	inClass := len(s.open) > 0 && s.found[s.open[len(s.open)-1].symbol].Kind == kindClass
	at := Position{line, utf16Length(s.text[start:i])}
	switch word {
	case "def", "class":
		_, next := indentation(s.text, after)
		name, _ := identifierAt(s.text, next)
		if name == "" || next == after {
			return
		}
		kind := kindClass
		if word == "def" {
			kind = kindFunction
			if inClass {
				kind = kindMethod
			}
		}
		s.found = append(s.found, Symbol{Kind: kind, Name: name, Location: Location{Range: Range{at, at}}})
		s.open = append(s.open, block{indent, len(s.found) - 1})
	case "", "if", "for", "while", "with", "try", "else", "elif", "except", "finally", "return", "lambda":
	default:
		if len(s.open) > 0 && !inClass || !assigned(s.text, after) {
			return
		}
		kind := kindVariable
		if inClass {
			kind = kindField
		}
		end := Position{line, at.Character + utf16Length([]byte(word))}
		s.found = append(s.found, Symbol{Kind: kind, Name: word, Location: Location{Range: Range{at, end}}})
	}
}

// assigned reports whether what follows a name gives it a value or a type.
func assigned(text []byte, i int) bool {
	_, i = indentation(text, i)
	if i >= len(text) {
		return false
	}
	if text[i] == '=' {
		return i+1 >= len(text) || text[i+1] != '='
	}
	return text[i] == ':' && (i+1 >= len(text) || text[i+1] != '=')
}

// identifierAt returns the name that begins at i, or "", and where it ends.
func identifierAt(text []byte, i int) (string, int) {
	begin := i
	for i < len(text) {
		c, size := utf8.DecodeRune(text[i:])
		if c != '_' && !unicode.IsLetter(c) && (i == begin || !unicode.IsDigit(c) && !unicode.IsMark(c)) {
			break
		}
		i += size
	}
	return string(text[begin:i]), i
}

// skipStatement goes to the line after a statement: past the ends of lines that
// are in brackets, in a text of three quotes, or behind a backslash. It begins
// at i, in the line that begins at start. It notes where the statement ended.
func (s *pythonScanner) skipStatement(line, start, i int) (int, int) {
	depth, last := 0, -1 // last is the end of what was no white space or comment
	for i < len(s.text) {
		switch c := s.text[i]; c {
		case '\n':
			if last >= 0 {
				s.ended = Position{line, utf16Length(s.text[start:last])}
			}
			if i++; depth == 0 || definesAt(s.text, i) {
				return line + 1, i
			}
			line, start, last = line+1, i, -1
			continue
		case '#':
			for i < len(s.text) && s.text[i] != '\n' {
				i++
			}
			continue
		case '\\':
			if n := lineEnd(s.text, i+1); n > 0 {
				i += 1 + n
				line, start, last = line+1, i, -1
				continue
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(0, depth-1)
		case '"', '\'':
			end, lines, lineStart := skipString(s.text, i)
			i = end
			if lines > 0 {
				line, start = line+lines, lineStart
			}
			last = i
			continue
		case ' ', '\t', '\r', '\f':
			i++
			continue
		}
		i++
		last = i
	}
	if last >= 0 {
		s.ended = Position{line, utf16Length(s.text[start:last])}
	}
	return line + 1, i
}

// definesAt reports whether the line that begins at i begins a definition. No
// line within brackets does, so that a bracket which is not closed ends there.
func definesAt(text []byte, i int) bool {
	_, i = indentation(text, i)
	word, after := identifierAt(text, i)
	return (word == "def" || word == "class") && after < len(text) && text[after] == ' '
}

// lineEnd returns the length of the line's end at i, or 0.
func lineEnd(text []byte, i int) int {
	switch {
	case i < len(text) && text[i] == '\n':
		return 1
	case i+1 < len(text) && text[i] == '\r' && text[i+1] == '\n':
		return 2
	}
	return 0
}

// skipString goes to the end of the text whose quotes begin at i. It returns
// that, how many lines ended in it, and where the last one begins. A text of
// one quote ends with its line at the latest.
func skipString(text []byte, i int) (end, lines, lineStart int) {
	quote := text[i]
	long := i+2 < len(text) && text[i+1] == quote && text[i+2] == quote
	if i++; long {
		i += 2
	}
	for i < len(text) {
		switch {
		case text[i] == '\\':
			if n := lineEnd(text, i+1); n > 0 {
				i += 1 + n
				lines, lineStart = lines+1, i
			} else {
				i = min(i+2, len(text))
			}
			continue
		case text[i] == '\n' && !long:
			return i, lines, lineStart
		case text[i] == '\n':
			lines, lineStart = lines+1, i+1
		case text[i] == quote && !long:
			return i + 1, lines, lineStart
		case text[i] == quote && i+2 < len(text) && text[i+1] == quote && text[i+2] == quote:
			return i + 3, lines, lineStart
		}
		i++
	}
	return i, lines, lineStart
}

// utf16Length is the length of UTF-8 text in units of UTF-16.
func utf16Length(text []byte) int {
	n := 0
	for len(text) > 0 {
		c, size := utf8.DecodeRune(text)
		n += max(1, utf16.RuneLen(c))
		text = text[size:]
	}
	return n
}
