package main

import (
	"errors"
	"io"
	"os"

	"github.com/pkg/sftp"
)

// serveFiles speaks the SFTP protocol on standard input and output, with the
// rights of the user that the process has.
func serveFiles() error {
	server, err := sftp.NewServer(stdio{})
	if err != nil {
		return err
	}
	if err := server.Serve(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// stdio is the process's own input and output as one connection.
type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }
