package ready

import (
	"encoding/binary"
	"hash/crc32"
)

// archive returns a zip file with one file, stored as it is: the least that
// Python imports a module from.
func archive(name, content string) []byte {
	sum := crc32.ChecksumIEEE([]byte(content))
	size, length := uint32(len(content)), uint16(len(name))
	const version, date = 20, 1<<5 | 1 // the first of January 1980
	le := binary.LittleEndian
	common := func(b []byte) []byte {
		b = le.AppendUint16(b, version)
		b = le.AppendUint16(b, 0) // flags
		b = le.AppendUint16(b, 0) // stored
		b = le.AppendUint16(b, 0) // time
		b = le.AppendUint16(b, date)
		b = le.AppendUint32(b, sum)
		b = le.AppendUint32(b, size)
		b = le.AppendUint32(b, size)
		b = le.AppendUint16(b, length)
		return le.AppendUint16(b, 0) // extra field
	}
	file := common([]byte("PK\x03\x04"))
	file = append(append(file, name...), content...)
	directory := common(le.AppendUint16([]byte("PK\x01\x02"), version))
	directory = append(directory, make([]byte, 2+2+2+4+4)...) // comment, disk, attributes, offset
	directory = append(directory, name...)
	end := append([]byte("PK\x05\x06"), 0, 0, 0, 0)
	end = le.AppendUint16(end, 1)
	end = le.AppendUint16(end, 1)
	end = le.AppendUint32(end, uint32(len(directory)))
	end = le.AppendUint32(end, uint32(len(file)))
	end = le.AppendUint16(end, 0)
	return append(append(file, directory...), end...)
}
