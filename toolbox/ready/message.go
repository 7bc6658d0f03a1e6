package ready

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A message has its length in four bytes, the lowest first, and then texts that
// are separated by NUL bytes. Descriptors travel with its first byte.

// maxMessage bounds what a template may say.
const maxMessage = 4 << 20

// send sends a message until the deadline.
func send(conn *net.UnixConn, deadline time.Time, texts []string, files ...*os.File) error {
	body := strings.Join(texts, "\x00")
	b := append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	n, _, err := conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	if err == nil && n < len(b) {
		_, err = conn.Write(b[n:])
	}
	return err
}

// receive reads a message until the deadline.
func receive(conn *net.UnixConn, deadline time.Time) ([]string, error) {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	return readMessage(conn)
}

func readMessage(r io.Reader) ([]string, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxMessage {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	var body strings.Builder
	if _, err := io.CopyN(&body, r, int64(n)); err != nil {
		return nil, err
	}
	return strings.Split(body.String(), "\x00"), nil
}

// socketPair returns our end of a connection and the other's.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ready"), os.NewFile(uintptr(fds[1]), "ready")
	conn, err := net.FileConn(ours)
	if err := errors.Join(err, ours.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}
