package testkit

import (
	"fmt"
	"strings"
)

func successes() []entry {
	var t []entry
	for _, kind := range []string{"file", "pack", "indx", "vers"} {
		t = append(t, entry{"kind_" + kind, Success, "", func(b *build) { b.kind, b.v.Kind = kind, kind }})
	}
	for _, s := range []struct {
		name string
		size int
	}{
		{"empty", 0}, {"one_byte", 1},
		{"chunk_less_one", chunkSize - 1}, {"chunk", chunkSize}, {"chunk_and_one", chunkSize + 1},
		{"two_chunks", 2 * chunkSize}, {"two_chunks_and_one", 2*chunkSize + 1},
		{"segment_less_chunk", segmentSize - chunkSize}, {"segment_less_one", segmentSize - 1},
		{"segment", segmentSize}, {"segment_and_one", segmentSize + 1}, {"segment_and_chunk", segmentSize + chunkSize},
		{"two_segments_less_one", 2*segmentSize - 1}, {"two_segments", 2 * segmentSize}, {"two_segments_and_one", 2*segmentSize + 1},
		{"five_segments_and_some", 5*segmentSize + 3*chunkSize + 777},
	} {
		t = append(t, entry{"size_" + s.name, Success, fmt.Sprintf("%d bytes", s.size), func(b *build) { b.seal(s.size) }})
	}
	return append(t,
		entry{"local", Success, "one slot, no context", func(b *build) { b.ring(b.wrap(b.local)) }},
		entry{"local_empty", Success, "no byte in it", func(b *build) { b.ring(b.wrap(b.local)); b.seal(0) }},
		entry{"local_segments", Success, "a keyring before more than one segment", func(b *build) {
			b.ring(b.wrap(b.local))
			b.seal(segmentSize + chunkSize + 5)
		}},
		entry{"local_context", Success, "the pairs are sorted before they are bound", func(b *build) {
			b.context = []pair{{"zone", "a"}, {"project", "scans"}, {"vaultpack:dataset", "digits"}, {"Zone", "b"}}
			b.ring(b.wrap(b.local))
		}},
		entry{"local_context_utf8", Success, "sorted by bytes, not by any alphabet", func(b *build) {
			b.context = []pair{{"ä", "ö"}, {"z", "ß=x"}, {"\U0001F511", "e\u0301"}}
			b.ring(b.wrap(b.local))
		}},
		entry{"local_context_bounds", Success, "16 pairs, a name of 128 bytes, a value of 1024", func(b *build) {
			b.context = []pair{{strings.Repeat("n", 128), strings.Repeat("v", 1024)}}
			for i := range 15 {
				b.context = append(b.context, pair{fmt.Sprint("name", i), fmt.Sprint("value", i)})
			}
			b.ring(b.wrap(b.local))
		}},
		entry{"local_second_slot", Success, "", func(b *build) { b.ring(b.wrap(b.bytes(32)), b.wrap(b.local)) }},
		entry{"local_second_key", Success, "", func(b *build) {
			b.ring(b.wrap(b.local))
			b.openLocal(b.bytes(32), b.local)
		}},
		entry{"local_first_slot_damaged", Success, "a second slot of the same key still opens", func(b *build) {
			bad := b.wrap(b.local)
			bad.wrapped[60] ^= 1
			b.ring(bad, b.wrap(b.local))
		}},
		entry{"local_64_slots", Success, "the most that there may be", func(b *build) {
			var s []slot
			for range 63 {
				s = append(s, b.wrap(b.bytes(32)))
			}
			b.ring(append(s, b.wrap(b.local))...)
		}},
		entry{"slot_unknown_kind", Success, "a slot of a kind that is not known is passed over", func(b *build) {
			b.ring(slot{"future", "x", []byte{1}}, b.wrap(b.local))
		}},
		entry{"slot_bounds", Success, "a kind of 32 bytes, a key of 2048, 16384 bytes wrapped", func(b *build) {
			b.ring(slot{strings.Repeat("k", 32), "x", []byte{1}}, slot{"k", strings.Repeat("x", 2048), []byte{1}},
				slot{"k", "x", make([]byte, 16384)}, b.wrap(b.local))
		}},
		entry{"keyring_65536", Success, "the largest keyring that there may be", func(b *build) {
			b.largeRing(maxKeyring)
		}},
		entry{"pack_with_keyring", Success, "opened with the data key", func(b *build) {
			b.ring(b.wrap(b.local))
			b.kind, b.v.Kind = "pack", "pack"
			b.v.KeyID, b.v.DataKey, b.v.LocalKeys = b.keyID, b.dataKey, nil
		}},
	)
}
