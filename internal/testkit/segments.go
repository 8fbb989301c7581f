package testkit

import (
	"bytes"
	"slices"
)

// chunks has faults within one segment of three full chunks and a last one of 100
// bytes, and truncations at every boundary.
func chunks() []entry {
	const size = 3*chunkSize + 100
	// at is the offset of chunk n in the file.
	at := func(n int) int { return 64 + headerSize + n*sealedChunk }
	fault := func(released int, f func(file []byte) []byte) func(*build) {
		return func(b *build) {
			b.seal(size)
			b.release(0, released*chunkSize)
			b.after = f
		}
	}
	flip := func(released, i int) func(*build) {
		return fault(released, func(f []byte) []byte { return flipped(f, i) })
	}
	cut := func(released, n int) func(*build) {
		return fault(released, func(f []byte) []byte { return f[:n] })
	}
	chunk := func(f []byte, n int) []byte { return f[at(n):min(at(n+1), len(f))] }
	order := func(released int, order ...int) func(*build) {
		return fault(released, func(f []byte) []byte {
			out := bytes.Clone(f[:at(0)])
			for _, n := range order {
				out = append(out, chunk(f, n)...)
			}
			return out
		})
	}
	more := func(released int, tail ...byte) func(*build) {
		return fault(released, func(f []byte) []byte { return append(f, tail...) })
	}
	return []entry{
		{"salt_first_bit", Authentication, "", flip(0, 64)},
		{"salt_last_byte", Authentication, "", flip(0, 64+23)},
		{"commitment_first_byte", Authentication, "of the segment", flip(0, 64+24)},
		{"commitment_last_byte", Authentication, "of the segment", flip(0, 64+55)},
		{"chunk_first", Authentication, "a bit of chunk 0", flip(0, at(0))},
		{"chunk_first_tag", Authentication, "", flip(0, at(1)-1)},
		{"chunk_middle", Authentication, "a bit of chunk 1", flip(1, at(1)+5000)},
		{"chunk_middle_tag", Authentication, "", flip(1, at(2)-16)},
		{"chunk_last", Authentication, "a bit of the last chunk", flip(3, at(3))},
		{"chunk_last_tag", Authentication, "the last bit of the file", flip(3, at(3)+115)},
		{"cut_no_segment", Authentication, "a header and nothing", cut(0, 64)},
		{"cut_salt", Authentication, "", cut(0, 64+10)},
		{"cut_after_salt", Authentication, "", cut(0, 64+24)},
		{"cut_commitment", Authentication, "", cut(0, 64+30)},
		{"cut_after_commitment", Authentication, "", cut(0, at(0))},
		{"cut_first_chunk", Authentication, "", cut(0, at(0)+9000)},
		{"cut_chunk_boundary", Authentication, "", cut(2, at(2))},
		{"cut_before_last_chunk", Authentication, "all full chunks are there", cut(3, at(3))},
		{"cut_after_chunk_less_tag", Authentication, "", cut(1, at(2)-16)},
		{"cut_first_byte_of_chunk", Authentication, "", cut(2, at(2)+1)},
		{"cut_in_chunk_tag_size", Authentication, "16 bytes of chunk 2, as an empty last chunk would have", cut(2, at(2)+16)},
		{"cut_last_byte", Authentication, "", cut(3, at(3)+115)},
		{"cut_last_tag", Authentication, "", cut(3, at(3)+100)},
		{"chunks_exchanged", Authentication, "", order(0, 1, 0, 2, 3)},
		{"chunks_exchanged_later", Authentication, "", order(1, 0, 2, 1, 3)},
		{"chunk_twice", Authentication, "", order(2, 0, 1, 1, 2, 3)},
		{"chunk_left_out", Authentication, "", order(1, 0, 2, 3)},
		{"chunk_first_left_out", Authentication, "", order(0, 1, 2, 3)},
		{"chunk_last_twice", Authentication, "", order(3, 0, 1, 2, 3, 3)},
		{"chunk_last_first", Authentication, "", order(0, 3, 0, 1, 2)},
		{"chunk_last_early", Authentication, "the last chunk in the place of another", order(1, 0, 3)},
		{"trailing_byte", Authentication, "", more(3, 0)},
		{"trailing_tag", Authentication, "16 bytes", more(3, make([]byte, 16)...)},
		{"trailing_71", Authentication, "a byte less than an empty segment", more(3, make([]byte, 71)...)},
		{"trailing_zeros", Authentication, "to the end of a block of 64 KiB", fault(3, func(f []byte) []byte { return append(f, make([]byte, 65536-len(f))...) })},
		{"trailing_file", Authentication, "the whole file again", fault(3, func(f []byte) []byte { return append(f, f...) })},
		{"chunk_of_another_segment", Authentication, "chunk 1 of another segment of the same number", func(b *build) {
			b.seal(size)
			other, _ := b.segment(0, nil, size)
			b.release(0, chunkSize)
			b.after = func(f []byte) []byte { copy(f[at(1):at(2)], other[headerSize+sealedChunk:]); return f }
		}},
		{"header_of_another_segment", Authentication, "salt and commitment of another segment of the same number", func(b *build) {
			b.seal(size)
			other, _ := b.segment(0, nil, size)
			b.after = func(f []byte) []byte { copy(f[64:], other[:headerSize]); return f }
		}},
		{"salt_of_another_segment", Authentication, "with the commitment left", func(b *build) {
			b.seal(size)
			other, _ := b.segment(0, nil, size)
			b.after = func(f []byte) []byte { copy(f[64:], other[:saltSize]); return f }
		}},
		{"local_chunk_last_tag", Authentication, "behind a keyring", func(b *build) {
			b.ring(b.wrap(b.local))
			b.seal(size)
			b.release(0, 3*chunkSize)
			b.after = func(f []byte) []byte { return flipped(f, len(f)-1) }
		}},
		{"local_cut_no_segment", Authentication, "behind a keyring", func(b *build) {
			b.ring(b.wrap(b.local))
			b.after = func(f []byte) []byte { return f[:64+len(b.keyring)] }
		}},
		{"empty_no_tag", Authentication, "an empty file without its last tag", func(b *build) {
			b.seal(0)
			b.after = func(f []byte) []byte { return f[:len(f)-16] }
		}},
		{"empty_tag", Authentication, "", func(b *build) {
			b.seal(0)
			b.after = func(f []byte) []byte { return flipped(f, len(f)-1) }
		}},
	}
}

// segments has faults in the order and number of segments: three full ones and
// a last one of 100 bytes, named 0 to 3.
func segments() []entry {
	const size = 3*segmentSize + 100
	const mb = segmentSize
	from := func(i int) int { return 64 + i*sealedSegment }
	order := func(released, chunks int, order ...int) func(*build) {
		return func(b *build) {
			b.seal(size)
			b.release(released, chunks)
			parts := b.parts
			b.parts = [][]byte{}
			for _, i := range order {
				b.parts = append(b.parts, parts[i])
			}
		}
	}
	cut := func(released, chunks, n int) func(*build) {
		return func(b *build) {
			b.seal(size)
			b.release(released, chunks)
			b.after = func(f []byte) []byte { return f[:n] }
		}
	}
	flip := func(released, chunks, n int) func(*build) {
		return func(b *build) {
			b.seal(size)
			b.release(released, chunks)
			b.after = func(f []byte) []byte { return flipped(f, n) }
		}
	}
	// own seals segments of the given sizes with the given numbers.
	own := func(released, chunks int, numberAndSize ...[2]int) func(*build) {
		return func(b *build) {
			for _, s := range numberAndSize {
				sealed, plain := b.segment(uint64(s[0]), nil, s[1])
				b.parts = append(b.parts, sealed)
				b.plain = append(b.plain, plain...)
			}
			b.release(released, chunks)
		}
	}
	return []entry{
		{"segments_exchanged", Authentication, "", order(0, 0, 1, 0, 2, 3)},
		{"segments_exchanged_later", Authentication, "", order(mb, mb, 0, 2, 1, 3)},
		{"segments_reversed", Authentication, "the short one first", order(0, 0, 3, 2, 1, 0)},
		{"segment_twice", Authentication, "", order(2*mb, 2*mb, 0, 1, 1, 2, 3)},
		{"segment_repeated", Authentication, "in the place of the next", order(mb, mb, 0, 0, 2, 3)},
		{"segment_first_left_out", Authentication, "", order(0, 0, 1, 2, 3)},
		{"segment_middle_left_out", Authentication, "", order(mb, mb, 0, 2, 3)},
		{"segment_last_left_out", Authentication, "the file ends with a full one", order(3*mb, 3*mb, 0, 1, 2)},
		{"segment_last_two_left_out", Authentication, "", order(2*mb, 2*mb, 0, 1)},
		{"segment_last_only", Authentication, "", order(0, 0, 3)},
		{"segment_last_twice", Authentication, "", order(3*mb, 3*mb, 0, 1, 2, 3, 3)},
		{"segment_last_early", Authentication, "", order(mb, mb, 0, 3)},
		{"segment_last_in_the_middle", Authentication, "the short one before a full one", order(2*mb, 2*mb, 0, 1, 3, 2)},
		{"segment_cut_salt", Authentication, "in segment 1", cut(mb, mb, from(1)+10)},
		{"segment_cut_commitment", Authentication, "in segment 1", cut(mb, mb, from(1)+40)},
		{"segment_cut_after_commitment", Authentication, "in segment 1", cut(mb, mb, from(1)+headerSize)},
		{"segment_cut_chunk_boundary", Authentication, "in segment 1, after its chunk 4", cut(mb, mb+5*chunkSize, from(1)+headerSize+5*sealedChunk)},
		{"segment_cut_last_chunk", Authentication, "segment 1 without its empty last chunk", cut(mb, 2*mb, from(2)-16)},
		{"segment_cut_one_byte", Authentication, "the last byte of segment 1", cut(mb, 2*mb, from(2)-1)},
		{"segment_cut_after_one_byte", Authentication, "a byte of segment 2", cut(2*mb, 2*mb, from(2)+1)},
		{"segment_salt", Authentication, "a bit of segment 1", flip(mb, mb, from(1))},
		{"segment_commitment", Authentication, "a bit of segment 2", flip(2*mb, 2*mb, from(2)+24)},
		{"segment_chunk", Authentication, "a bit in chunk 7 of segment 1", flip(mb, mb+7*chunkSize, from(1)+headerSize+7*sealedChunk+1)},
		{"segment_last_chunk_tag", Authentication, "of the empty chunk of segment 0", flip(0, mb, from(1)-1)},
		{"segment_last_tag", Authentication, "of the file", flip(3*mb, 3*mb, from(3)+headerSize+100)},
		{"segment_last_full", Authentication, "two full ones, and no short one", own(2*mb, 2*mb, [2]int{0, mb}, [2]int{1, mb})},
		{"segment_only_full", Authentication, "one full one, and no short one", own(mb, mb, [2]int{0, mb})},
		{"segment_oversized", Authentication, "one message of 1 MiB and 1 byte", own(0, mb, [2]int{0, mb + 1})},
		{"segment_oversized_chunk", Authentication, "one message of 1 MiB and 16 KiB", own(0, mb, [2]int{0, mb + chunkSize})},
		{"segment_oversized_last", Authentication, "the second message has 2 MiB", own(mb, 2*mb, [2]int{0, mb}, [2]int{1, 2 * mb})},
		{"segment_short_first", Authentication, "100 bytes, and then a segment of number 1", own(0, 0, [2]int{0, 100}, [2]int{1, 100})},
		{"segment_short_middle", Authentication, "full, short, full, short", own(mb, mb+2*chunkSize, [2]int{0, mb}, [2]int{1, 50000 - 50000%chunkSize - 1}, [2]int{2, mb}, [2]int{3, 1})},
		{"segment_empty_middle", Authentication, "full, empty, short", own(mb, mb, [2]int{0, mb}, [2]int{1, 0}, [2]int{2, 5})},
		{"segment_chunk_short_middle", Authentication, "the middle one a chunk short, in the same key", own(mb, mb+63*chunkSize, [2]int{0, mb}, [2]int{1, mb - chunkSize}, [2]int{2, 5})},
		{"segment_extra_empty", Authentication, "a second last one, empty", own(0, 0, [2]int{0, 100}, [2]int{1, 0})},
		{"segment_extra_empty_after_full", Authentication, "full, empty, empty", own(mb, mb, [2]int{0, mb}, [2]int{1, 0}, [2]int{2, 0})},
		{"segment_extra_last", Authentication, "full, short, and the same short one under the next number", own(mb, mb, [2]int{0, mb}, [2]int{1, 7}, [2]int{2, 7})},
		{"segment_numbers_from_1", Authentication, "", own(0, 0, [2]int{1, mb}, [2]int{2, 5})},
		{"segment_number_skipped", Authentication, "0, 2", own(mb, mb, [2]int{0, mb}, [2]int{2, 5})},
		{"segment_numbers_all_0", Authentication, "", own(mb, mb, [2]int{0, mb}, [2]int{0, 5})},
		{"segment_of_another_file", Authentication, "of the same data key, kind and number", splice(func(b *build) { b.objectID = b.bytes(32) })},
		{"segment_of_another_key", Authentication, "of another data key", splice(func(b *build) { b.dataKey = b.bytes(32) })},
		{"segment_of_another_key_id", Authentication, "of the same data key under another ID", splice(func(b *build) { b.keyID = b.bytes(16) })},
		{"segment_of_another_kind", Authentication, "of the same IDs and data key", splice(func(b *build) { b.kind = "pack" })},
		{"segment_last_of_another_file", Authentication, "an empty last segment of a shorter file", func(b *build) {
			b.seal(size)
			b.release(3*mb, 3*mb)
			id := b.objectID
			b.objectID = b.bytes(32)
			b.parts[3], _ = b.segment(3, []byte{}, 0)
			b.objectID = id
		}},
		{"segments_of_another_file", Authentication, "all of them, under this file's header", func(b *build) {
			id := b.objectID
			b.objectID = b.bytes(32)
			b.seal(segmentSize + 1)
			b.objectID = id
		}},
	}
}

// splice puts segment 1 of another file, which f makes, into a file of three.
func splice(f func(b *build)) func(*build) {
	return func(b *build) {
		b.seal(2*segmentSize + 5)
		b.release(segmentSize, segmentSize)
		was := *b
		f(b)
		b.parts[1], _ = b.segment(1, nil, segmentSize)
		b.dataKey, b.keyID, b.objectID, b.kind = was.dataKey, was.keyID, was.objectID, was.kind
		b.parts = slices.Clip(b.parts)
	}
}
