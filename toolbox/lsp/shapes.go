package lsp

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Position is a place in a text: line and character count from 0, characters
// in units of UTF-16, as the protocol has it.
type Position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

// Range is from Start up to, and without, End.
type Range struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Location is a range in a file.
type Location struct {
	URI   string `json:"uri"`
	Range Range  `json:"range"`
}

// Symbol is something that has a name. Kind is the protocol's number: 5 class,
// 6 method, 12 function, 13 variable, and so on.
type Symbol struct {
	Kind     int      `json:"kind"`
	Name     string   `json:"name"`
	Location Location `json:"location"`
}

// CompletionList is the answer to a question for completions.
type CompletionList struct {
	IsIncomplete bool             `json:"isIncomplete"`
	Items        []CompletionItem `json:"items"`
}

// CompletionItem is one completion. Documentation is an object or absent:
// clients refuse a text.
type CompletionItem struct {
	Label         string         `json:"label"`
	Kind          int            `json:"kind,omitempty"`
	Detail        string         `json:"detail,omitempty"`
	Documentation *MarkupContent `json:"documentation,omitempty"`
	SortText      string         `json:"sortText,omitempty"`
	FilterText    string         `json:"filterText,omitempty"`
	InsertText    string         `json:"insertText,omitempty"`
}

// MarkupContent is text of a kind: "plaintext" or "markdown".
type MarkupContent struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// UnmarshalJSON takes what servers send for it: an object, or a text alone.
func (m *MarkupContent) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		m.Kind = "plaintext"
		return json.Unmarshal(b, &m.Value)
	}
	type plain MarkupContent
	return json.Unmarshal(b, (*plain)(m))
}

// Diagnostic is a complaint about a range. Severity is 1 error, 2 warning,
// 3 information or 4 hint; Code is a text or a number.
type Diagnostic struct {
	Range    Range           `json:"range"`
	Severity int             `json:"severity,omitempty"`
	Code     json.RawMessage `json:"code,omitempty"`
	Source   string          `json:"source,omitempty"`
	Message  string          `json:"message"`
}

// HoverText is what is known of a place in a text; Contents is empty when
// nothing is.
type HoverText struct {
	Contents MarkupContent `json:"contents"`
	Range    *Range        `json:"range,omitempty"`
}

// completions reads the answer to textDocument/completion: a list with a flag,
// an array, or null.
func completions(raw json.RawMessage) (CompletionList, error) {
	list := CompletionList{Items: []CompletionItem{}}
	var err error
	switch first(raw) {
	case '[':
		err = json.Unmarshal(raw, &list.Items)
	case '{':
		err = json.Unmarshal(raw, &list)
	}
	if list.Items == nil {
		list.Items = []CompletionItem{}
	}
	return list, err
}

// first returns the byte that tells what a JSON value is.
func first(raw json.RawMessage) byte {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// namedSymbol is either of the protocol's two kinds of symbol.
type namedSymbol struct {
	Name     string          `json:"name"`
	Kind     int             `json:"kind"`
	Location *Location       `json:"location"` // of one kind
	Range    *Range          `json:"range"`    // of the other
	Children json.RawMessage `json:"children"`
}

// maxSymbolDepth bounds how deep symbols may be within each other.
const maxSymbolDepth = 64

// symbols reads the answer to a question for symbols and makes one list of it,
// in which those within another follow it. uri is the document asked about, if
// it was one.
func symbols(raw json.RawMessage, uri string) ([]Symbol, error) {
	all := []Symbol{}
	err := flatten(&all, raw, uri, 0)
	return all, err
}

func flatten(all *[]Symbol, raw json.RawMessage, uri string, depth int) error {
	if first(raw) != '[' || depth > maxSymbolDepth {
		return nil
	}
	var level []namedSymbol
	if err := json.Unmarshal(raw, &level); err != nil {
		return err
	}
	for _, s := range level {
		symbol := Symbol{Kind: s.Kind, Name: s.Name, Location: Location{URI: uri}}
		if s.Location != nil {
			symbol.Location = *s.Location
		} else if s.Range != nil {
			symbol.Location.Range = *s.Range
		}
		if symbol.Location.URI == "" {
			symbol.Location.URI = uri
		}
		*all = append(*all, symbol)
		if err := flatten(all, s.Children, uri, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// hover reads the answer to textDocument/hover. Its contents may be an object,
// a text, a piece of code in a language, or several of these.
func hover(raw json.RawMessage) (HoverText, error) {
	none := HoverText{Contents: MarkupContent{Kind: "plaintext"}}
	if first(raw) != '{' {
		return none, nil
	}
	var answer struct {
		Contents json.RawMessage `json:"contents"`
		Range    *Range          `json:"range"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return none, err
	}
	parts := []json.RawMessage{answer.Contents}
	if first(answer.Contents) == '[' {
		if err := json.Unmarshal(answer.Contents, &parts); err != nil {
			return none, err
		}
	}
	var texts []string
	kind := "plaintext"
	for _, part := range parts {
		var format, text string
		switch first(part) {
		case '"':
			format = "markdown"
			if err := json.Unmarshal(part, &text); err != nil {
				return none, err
			}
		case '{':
			var fields struct{ Kind, Language, Value string }
			if err := json.Unmarshal(part, &fields); err != nil {
				return none, err
			}
			format, text = fields.Kind, fields.Value
			if fields.Language != "" {
				format, text = "markdown", "```"+fields.Language+"\n"+fields.Value+"\n```"
			}
		}
		if text != "" {
			texts = append(texts, text)
		}
		if format == "markdown" {
			kind = format
		}
	}
	return HoverText{MarkupContent{kind, strings.Join(texts, "\n\n")}, answer.Range}, nil
}

// tsDiagnostics reads what TypeScript's own server says of a file. There lines
// and characters count from 1.
func tsDiagnostics(raw json.RawMessage) ([]Diagnostic, error) {
	type place struct{ Line, Offset int }
	var answer struct {
		Body []struct {
			Start, End place
			Text       string
			Code       json.RawMessage
			Category   string
			Source     string
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, err
	}
	position := func(p place) Position { return Position{max(0, p.Line-1), max(0, p.Offset-1)} }
	var all []Diagnostic
	for _, d := range answer.Body {
		severity := map[string]int{"error": 1, "warning": 2, "message": 3, "suggestion": 4}[d.Category]
		source := d.Source
		if source == "" {
			source = "typescript"
		}
		all = append(all, Diagnostic{Range{position(d.Start), position(d.End)}, severity, d.Code, source, d.Text})
	}
	return all, nil
}
