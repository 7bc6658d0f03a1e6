package git

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"daytona/internal/fault"
)

// login is the credentials of one request, for one remote.
//
// They reach git through a pipe that it and its transport inherit, and that a
// one-line credential helper on git's command line reads. So they are never in
// an argument, in a variable or in a file, and they are gone with the last
// process that had the pipe. Git's other helpers are switched off for the run:
// one of them might save what it hears of.
//
// Processes of the same user can look into one another; what is prevented is
// that the credentials reach anyone by themselves: a hook, a submodule's or a
// redirection's host, a daemon that stays.
type login struct {
	username, password string
	scope              string // "https://host:port"
}

// newLogin returns what a remote is given, or nil when the request has no
// credentials or the remote's protocol has no use for them. Explicit ones go
// before those that the remote's address carries.
func newLogin(r remote, username, password string) (*login, error) {
	if username == "" && password == "" {
		if !r.carried {
			return nil, nil
		}
		username, password = r.username, r.password
	} else if username == "" {
		username = r.username
	}
	if r.scope == "" {
		return nil, nil
	}
	if username == "" {
		username = "git" // hosts that go by the token alone want some name
	}
	if err := credentialText("username", username, "password", password); err != nil {
		return nil, err
	}
	return &login{username, password, r.scope}, nil
}

// credentialText returns a fault for the first value of pairs that does not fit
// into a line of git's credential protocol.
func credentialText(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if strings.ContainsAny(pairs[i+1], "\x00\n\r") {
			return fault.New(fault.Invalid, "%s must not contain line breaks or NUL bytes", pairs[i])
		}
		if len(pairs[i+1]) > maxCredential {
			return fault.New(fault.Invalid, "%s is longer than %d bytes", pairs[i], maxCredential)
		}
	}
	return nil
}

const (
	maxCredential = 24 << 10 // bytes; the two fit into a pipe
	maxCopies     = 8
)

// helper answers git's question from descriptor 3, and hears nothing else.
// Reading line by line leaves the rest for the next question.
const helper = `!f() { test "$1" = get || exit 0; ` +
	`while IFS= read -r l <&3 && test -n "$l"; do printf '%s\n' "$l"; done; }; f`

// settings are the options of git by which it asks the helper, and no other,
// and only about this remote's host.
func (l *login) settings() []string {
	return []string{
		"-c", "credential.helper=",
		"-c", "credential." + l.scope + ".helper=" + helper,
		// Some hosts deny that a repository exists unless asked with a
		// name. Older versions of git do not know the setting and wait to
		// be asked.
		"-c", "http.proactiveAuth=basic",
	}
}

// open returns the pipe that is to be the process's descriptor 3. It holds the
// answer several times, since git may have to connect again.
func (l *login) open() (*os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	writer := os.NewFile(uintptr(fds[1]), "pipe")
	reader := os.NewFile(uintptr(fds[0]), "pipe")
	answer := "username=" + l.username + "\npassword=" + l.password + "\n\n"
	size, err := unix.FcntlInt(writer.Fd(), unix.F_GETPIPE_SZ, 0)
	copies := min(maxCopies, size/len(answer))
	if err == nil && copies == 0 {
		err = fmt.Errorf("it holds %d bytes only", size) // of a user who has very many pipes
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), writer.Close(), reader.Close())
	}
	if _, err := writer.WriteString(strings.Repeat(answer, copies)); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), writer.Close(), reader.Close())
	}
	if err := writer.Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe: %w", err), reader.Close())
	}
	return reader, nil
}
