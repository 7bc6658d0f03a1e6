// Package session runs commands in long-lived shells and keeps what they print
// on disk, so that any number of readers can have it, now and later.
//
// # One shell a session
//
// A session is one shell with a pipe as its standard input, by which it is told
// to source one command's text after the other: directories, variables and
// functions last from one command to the next, and a second command waits for
// the first. For each command the shell opens three named pipes of that
// command's own: what a process prints that was left behind goes on to the log
// of the command which started it. A command is over when the shell says so, on
// the pipe that is its own standard output, and not when its pipes are closed.
//
// The named pipes live in a directory in memory (/dev/shm), since a disk can be
// full and must not keep anyone from making room on it.
//
// # On disk
//
// Below ~/.daytona/sessions, readable by the sandbox's user alone:
//
//	{session}/{command}/script      the command's text, which the shell sources
//	{session}/{command}/output.log  what it printed: both streams in the order of arrival, and nothing else
//	{session}/{command}/output.idx  which bytes came from which stream
//	{session}/{command}/exit_code   exit code, cause and signal, a line each, once it is over
//
// The index has one record of eight bytes, big-endian, for each change of
// stream: twice the offset in output.log from which on the bytes are of the
// other stream, plus 1 if that is standard error. A record is written before the
// bytes that it is about, so that a crash leaves at most a record about nothing.
// A command that uses one stream alone has one record, whatever it prints.
//
// Everything is written before it is sent to anyone, and readers read the file.
// The files belong to the sandbox's user, who may do with them what they want:
// they are opened below the directory only, never through a symbolic link, and
// nothing in them is believed.
//
// When the disk has no room left (or less than a small reserve), the command
// goes on and its output is kept in memory up to 64 KiB; what comes after that
// is counted, and every reader is told.
//
// # How long
//
// Logs live until their session is deleted; of one session the last 1000
// commands are kept. Sessions do not outlive a stop of the sandbox, but their
// logs do: a session of an earlier run can be read and deleted, it is not
// listed, and a command for it is answered with 410. The newest 100 of such
// sessions are kept.
package session
