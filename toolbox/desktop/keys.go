package desktop

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"daytona/internal/fault"
	"daytona/toolbox/desktop/x11"
)

// keysyms of keys that type no character, by what clients call them: lower case,
// without spaces, dashes and underscores.
var keysyms = map[string]x11.Keysym{
	"enter": 0xff0d, "return": 0xff0d, "tab": 0xff09, "backspace": 0xff08, "escape": 0xff1b, "esc": 0xff1b,
	"delete": 0xffff, "del": 0xffff, "insert": 0xff63, "ins": 0xff63, "space": 0x20, "spacebar": 0x20,
	"up": 0xff52, "down": 0xff54, "left": 0xff51, "right": 0xff53,
	"arrowup": 0xff52, "arrowdown": 0xff54, "arrowleft": 0xff51, "arrowright": 0xff53,
	"home": 0xff50, "end": 0xff57, "pageup": 0xff55, "pgup": 0xff55, "prior": 0xff55,
	"pagedown": 0xff56, "pgdn": 0xff56, "pgdown": 0xff56, "next": 0xff56,
	"capslock": 0xffe5, "numlock": 0xff7f, "scrolllock": 0xff14, "pause": 0xff13, "break": 0xff6b,
	"printscreen": 0xff61, "print": 0xff61, "prtsc": 0xff61, "menu": 0xff67, "contextmenu": 0xff67, "help": 0xff6a,
	"ctrl": 0xffe3, "control": 0xffe3, "ctrll": 0xffe3, "controll": 0xffe3, "lctrl": 0xffe3, "lcontrol": 0xffe3,
	"ctrlr": 0xffe4, "controlr": 0xffe4, "rctrl": 0xffe4, "rcontrol": 0xffe4,
	"alt": 0xffe9, "option": 0xffe9, "opt": 0xffe9, "altl": 0xffe9, "lalt": 0xffe9, "altr": 0xffea, "ralt": 0xffea, "altgr": 0xfe03,
	"shift": 0xffe1, "shiftl": 0xffe1, "lshift": 0xffe1, "shiftr": 0xffe2, "rshift": 0xffe2,
	"cmd": 0xffeb, "command": 0xffeb, "meta": 0xffeb, "super": 0xffeb, "win": 0xffeb, "windows": 0xffeb,
	"cmdl": 0xffeb, "lcmd": 0xffeb, "metal": 0xffeb, "superl": 0xffeb, "cmdr": 0xffec, "rcmd": 0xffec, "metar": 0xffec, "superr": 0xffec,
	"plus": '+', "minus": '-', "equal": '=', "equals": '=', "comma": ',', "period": '.', "dot": '.', "slash": '/',
	"backslash": '\\', "semicolon": ';', "colon": ':', "apostrophe": '\'', "quote": '\'', "quotedbl": '"', "grave": '`', "backtick": '`',
	"bracketleft": '[', "bracketright": ']', "braceleft": '{', "braceright": '}', "parenleft": '(', "parenright": ')',
	"less": '<', "greater": '>', "underscore": '_', "asterisk": '*', "ampersand": '&', "at": '@', "numbersign": '#', "hash": '#',
	"dollar": '$', "percent": '%', "exclam": '!', "question": '?', "bar": '|', "pipe": '|', "asciitilde": '~', "tilde": '~', "asciicircum": '^', "caret": '^',
	"kpenter": 0xff8d, "numpadenter": 0xff8d, "kpadd": 0xffab, "numpadadd": 0xffab, "kpsubtract": 0xffad, "numpadsubtract": 0xffad,
	"kpmultiply": 0xffaa, "numpadmultiply": 0xffaa, "kpdivide": 0xffaf, "numpaddivide": 0xffaf, "kpdecimal": 0xffae, "numpaddecimal": 0xffae,
	"volumeup": 0x1008ff13, "volumedown": 0x1008ff11, "volumemute": 0x1008ff12, "mute": 0x1008ff12,
}

// modifierNames are what a modifier may be called.
var modifierNames = map[x11.Keysym]bool{
	0xffe3: true, 0xffe4: true, 0xffe9: true, 0xffea: true, 0xfe03: true,
	0xffe1: true, 0xffe2: true, 0xffeb: true, 0xffec: true,
}

// keysym returns the meaning of a key's name, or Invalid for an unknown one. A
// name of one character is the key that types it.
func keysym(name string) (x11.Keysym, error) {
	if r, size := utf8.DecodeRuneInString(name); size > 0 && size == len(name) && r != utf8.RuneError {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return 0, fault.New(fault.Invalid, "unknown key %q", name)
		}
		return x11.KeysymOf(r), nil
	}
	plain := strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(name))
	if sym, ok := keysyms[plain]; ok {
		return sym, nil
	}
	if n, ok := numbered(plain, "f"); ok && n >= 1 && n <= 24 {
		return x11.Keysym(0xffbe + n - 1), nil
	}
	for _, prefix := range []string{"numpad", "num", "kp"} {
		if n, ok := numbered(plain, prefix); ok && n <= 9 {
			return x11.Keysym(0xffb0 + n), nil
		}
	}
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return 0, fault.New(fault.Invalid, "unknown key %q: use a character, or a name such as enter, tab, escape, up, pageup, f5 or ctrl", name)
}

// numbered reads a name such as f5.
func numbered(name, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || digits == "" || len(digits) > 2 || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// modifiers returns the meanings of the names of modifiers.
func modifiers(names []string) ([]x11.Keysym, error) {
	var all []x11.Keysym
	for _, name := range names {
		sym, err := keysym(name)
		if err != nil || !modifierNames[sym] {
			return nil, fault.New(fault.Invalid, "unknown modifier %q: use ctrl, alt, shift or cmd", name)
		}
		all = append(all, sym)
	}
	return all, nil
}

// parseHotkey reads keys that are pressed together, such as "ctrl+shift+t". The
// key "+" itself may come last: "ctrl++".
func parseHotkey(text string) ([]x11.Keysym, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fault.New(fault.Invalid, "keys is required, such as ctrl+c")
	}
	rest, plus := strings.CutSuffix(text, "++")
	var names []string
	if text == "+" {
		names = []string{"plus"}
	} else {
		if plus {
			text = rest
		}
		names = strings.Split(text, "+")
		if plus {
			names = append(names, "plus")
		}
	}
	const most = 8
	if len(names) > most {
		return nil, fault.New(fault.Invalid, "keys names %d keys; there may be %d", len(names), most)
	}
	var all []x11.Keysym
	for _, name := range names {
		if trimmed := strings.TrimSpace(name); trimmed != "" {
			name = trimmed
		}
		if name == "" {
			return nil, fault.New(fault.Invalid, "keys has an empty name: %q", text)
		}
		sym, err := keysym(name)
		if err != nil {
			return nil, err
		}
		all = append(all, sym)
	}
	return all, nil
}
