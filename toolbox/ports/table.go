package ports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listeners returns the addresses of all listening TCP sockets, from the
// kernel's tables in dir. A kernel without IPv6 has no tcp6.
func listeners(dir string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	found := false
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("table of sockets: %w", err)
		}
		some, err := parseTable(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("table of sockets %s: %w", name, err)
		}
		found = true
		all = append(all, some...)
	}
	if !found {
		return nil, fmt.Errorf("table of sockets: %s has neither tcp nor tcp6", dir)
	}
	return all, nil
}

// numbers returns the ports of addresses in ascending order, each once, without
// one of them.
func numbers(all []netip.AddrPort, without int) []int {
	ports := []int{} // never null in JSON
	for _, l := range all {
		if port := int(l.Port()); port != without {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// parseTable reads a table of the form
//
//	sl  local_address rem_address   st …
//	 0: 0100007F:1F90 00000000:0000 0A …
//
// and returns the local addresses of the sockets that listen. Lines of another
// form are passed over.
func parseTable(r io.Reader) ([]netip.AddrPort, error) {
	const listen = "0A"
	var all []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listen {
			continue
		}
		if addr, ok := parseAddr(fields[1]); ok {
			all = append(all, addr)
		}
	}
	return all, lines.Err()
}

// parseAddr reads "0100007F:1F90": the address in words of 32 bits, each in the
// machine's own order of bytes, and the port.
func parseAddr(text string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(text, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for word := raw; len(word) > 0; word = word[4:] {
		binary.BigEndian.PutUint32(word, binary.NativeEndian.Uint32(word))
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil || number == 0 {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(number)), ok
}
