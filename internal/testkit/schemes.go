package testkit

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// schemes has files made by an implementation that got one part of the construction
// wrong. The part that opens before the error shows that the rest is right.
func schemes() []entry {
	const size = segmentSize + 2*chunkSize + 5
	wrong := func(released, chunks int, f func(s *scheme)) func(*build) {
		return func(b *build) {
			f(&b.scheme)
			b.seal(size)
			b.release(released, chunks)
		}
	}
	return []entry{
		{"scheme_object_label", Authentication, "without the zero byte", wrong(0, 0, func(s *scheme) { s.objectLabel = strings.TrimSuffix(s.objectLabel, "\x00") })},
		{"scheme_data_key_direct", Authentication, "the data key for the object key", wrong(0, 0, func(s *scheme) {
			s.objectKey = func(dataKey, _ []byte) []byte { return dataKey }
		})},
		{"scheme_header_64", Authentication, "the keyring's length bound too", wrong(0, 0, func(s *scheme) {
			s.objectKey = func(dataKey, header []byte) []byte {
				return expand(dataKey, "vaultpack/v1 object key\x00"+string(header[:64]), 32)
			}
		})},
		{"scheme_header_28", Authentication, "the object ID not bound", wrong(0, 0, func(s *scheme) {
			s.objectKey = func(dataKey, header []byte) []byte {
				return expand(dataKey, "vaultpack/v1 object key\x00"+string(header[:28]), 32)
			}
		})},
		{"scheme_segment_label", Authentication, "without the zero byte", wrong(0, 0, func(s *scheme) { s.segmentLabel = strings.TrimSuffix(s.segmentLabel, "\x00") })},
		{"scheme_segment_none", Authentication, "no context", wrong(0, 0, func(s *scheme) {
			s.segmentLabel, s.number = "", func(uint64) []byte { return nil }
		})},
		{"scheme_segment_little_endian", Authentication, "segment 0 is the same", wrong(segmentSize, segmentSize, func(s *scheme) {
			s.number = func(i uint64) []byte { return binary.LittleEndian.AppendUint64(nil, i) }
		})},
		{"scheme_segment_32_bits", Authentication, "", wrong(0, 0, func(s *scheme) {
			s.number = func(i uint64) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
		})},
		{"scheme_info_aes_128", Authentication, "the name of another algorithm", wrong(0, 0, func(s *scheme) { s.infoPrefix = strings.Replace(s.infoPrefix, "256", "128", 1) })},
		{"scheme_nonce_constant", Authentication, "chunk 0 is the same", wrong(0, chunkSize, func(s *scheme) {
			s.nonce = func(base []byte, _ uint64) []byte { return base }
		})},
		{"scheme_nonce_little_endian", Authentication, "chunk 0 is the same", wrong(0, chunkSize, func(s *scheme) {
			s.nonce = func(base []byte, n uint64) []byte {
				nonce := bytes.Clone(base)
				for i := range 8 {
					nonce[4+i] ^= byte(n >> (8 * i))
				}
				return nonce
			}
		})},
		{"scheme_nonce_added", Authentication, "the number added, not XORed", func(b *build) {
			b.scheme.nonce = func(base []byte, n uint64) []byte {
				nonce := bytes.Clone(base)
				binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])+n)
				return nonce
			}
			// Chunk 1 is the same if the base nonce ends in a zero bit.
			for {
				probe, _ := b.segment(0, []byte{}, 0)
				key := expand(b.dataKey, b.scheme.objectLabel+string(b.bound()), 32)
				okm := expand(key, b.scheme.infoPrefix+string(probe[:saltSize])+b.scheme.segmentLabel+string(b.scheme.number(0)), 44)
				sealed, plain := b.scheme.message(key, b.scheme.segmentLabel+string(b.scheme.number(0)), probe[:saltSize], nil, 2*chunkSize+5)
				if okm[43]&1 == 1 {
					b.parts, b.plain = [][]byte{sealed}, plain
					break
				}
			}
			b.release(0, chunkSize)
		}},
		{"scheme_nonce_from_1", Authentication, "", wrong(0, 0, func(s *scheme) {
			right := s.nonce
			s.nonce = func(base []byte, n uint64) []byte { return right(base, n+1) }
		})},
		{"scheme_aad", Authentication, "additional data where there is none", wrong(0, 0, func(s *scheme) { s.aad = []byte("x") })},
		{"scheme_no_empty_chunk", Authentication, "a full segment without its empty last chunk", wrong(0, segmentSize, func(s *scheme) { s.noLastEmpty = true })},
	}
}
