package ports

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
)

// The standard library's proxy does what this file does, and brings its client
// along, with connection pools and HTTP/2: half a megabyte in every sandbox.

// maxHeader bounds the head of a program's answer.
const maxHeader = 1 << 20

// outgoing is a request as the program gets it, without address and path. The
// connection is used once: nothing is kept for a program that may never be
// asked again.
func outgoing(r *http.Request) *http.Request {
	out := &http.Request{
		Method: r.Method, Header: r.Header.Clone(), Body: r.Body,
		ContentLength: r.ContentLength, TransferEncoding: r.TransferEncoding,
	}
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	protocol := upgrade(r.Header)
	dropHops(out.Header)
	if protocol != "" {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", protocol)
	} else {
		out.Header.Set("Connection", "close")
	}
	for name := range out.Header {
		if strings.HasPrefix(name, "X-Daytona-") { // by which our own parts talk to each other
			delete(out.Header, name)
		}
	}
	out.Header.Del("Expect") // our server has seen to it
	if r.UserAgent() == "" {
		out.Header.Set("User-Agent", "") // not Go's
	}
	return out
}

// upgrade returns the protocol to which a message wants to switch, or "".
func upgrade(h http.Header) string {
	for _, line := range h.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return h.Get("Upgrade")
			}
		}
	}
	return ""
}

// dropHops takes out the headers that are about one connection.
func dropHops(h http.Header) {
	for _, line := range h.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(token))
		}
	}
	for _, name := range []string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		h.Del(name)
	}
}

// exchange sends a request and reads the head of the answer. The request's body
// goes on being sent while the answer is read. What follows the head is to be
// read from the reader.
func exchange(w http.ResponseWriter, conn net.Conn, out *http.Request) (*http.Response, *bufio.Reader, error) {
	// A program may answer before it has read the whole request.
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 can do that anyway
	sent := make(chan error, 1)
	go func() { sent <- out.Write(conn) }() // ends with the connection

	head := &io.LimitedReader{R: conn, N: maxHeader}
	from := bufio.NewReaderSize(head, 32<<10)
	for {
		res, err := http.ReadResponse(from, out)
		if err != nil {
			select {
			case failure := <-sent:
				err = errors.Join(err, failure)
			default:
			}
			return nil, nil, fmt.Errorf("read answer: %w", err)
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			head.N = math.MaxInt64
			return res, from, nil
		}
	}
}

// pass gives a program's answer to the client, as it comes. An answer that
// breaks off is not made to look whole.
func pass(w http.ResponseWriter, res *http.Response) {
	dropHops(res.Header)
	header := w.Header()
	for name, values := range res.Header {
		header[name] = values
	}
	w.WriteHeader(res.StatusCode)
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return // the client has gone
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return // the client has gone
			}
			if flush.Flush() != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	for name, values := range res.Trailer {
		header[http.TrailerPrefix+name] = values
	}
}

// join passes on the answer to an upgrade, and then bytes in both directions
// until one side closes.
func join(w http.ResponseWriter, res *http.Response, conn net.Conn, from *bufio.Reader) error {
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	defer client.Close()
	// What the server set for the client's headers is kept.
	for name, values := range w.Header() {
		res.Header[name] = values
	}
	head := *res
	head.Body = nil // what follows belongs to the new protocol
	if head.Write(client) != nil {
		return nil // the client has gone
	}
	done := make(chan struct{}, 2)
	copyTo := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from) // either side may close at any time
		done <- struct{}{}
	}
	go copyTo(conn, buffered.Reader)
	go copyTo(client, from)
	<-done
	return nil
}
