package testkit

import "strings"

// slots has keyrings in the canonical encoding whose local slots do not open.
func slots() []entry {
	damaged := func(f func(s *slot)) func(*build) {
		return func(b *build) {
			s := b.wrap(b.local)
			f(&s)
			b.ring(s)
		}
	}
	// context opens with a different context from the one it was wrapped with.
	context := func(wrapped, opened []pair) func(*build) {
		return func(b *build) {
			b.context = wrapped
			s := b.wrap(b.local)
			b.context = opened
			b.ring(s)
		}
	}
	right := []pair{{"project", "scans"}, {"vaultpack:dataset", "digits"}}
	return []entry{
		{"local_other_key", NoKey, "", func(b *build) { b.ring(b.wrap(b.bytes(32))) }},
		{"local_stripped_slot", NoKey, "the reader's slot was removed, another's is left", func(b *build) {
			b.wrap(b.local)
			b.ring(b.wrap(b.bytes(32)))
		}},
		{"local_kind_case", NoKey, "", damaged(func(s *slot) { s.kind = "LOCAL" })},
		{"local_kind_unknown", NoKey, "", damaged(func(s *slot) { s.kind = "local2" })},
		{"local_fingerprint_case", NoKey, "", damaged(func(s *slot) { s.key = strings.ToUpper(s.key) })},
		{"local_fingerprint_short", NoKey, "", damaged(func(s *slot) { s.key = s.key[:31] })},
		{"local_fingerprint_long", NoKey, "", damaged(func(s *slot) { s.key += "0" })},
		{"local_wrapped_salt", Authentication, "a bit changed", damaged(func(s *slot) { s.wrapped[0] ^= 1 })},
		{"local_wrapped_commitment", Authentication, "a bit changed", damaged(func(s *slot) { s.wrapped[55] ^= 0x80 })},
		{"local_wrapped_key", Authentication, "a bit changed", damaged(func(s *slot) { s.wrapped[56] ^= 1 })},
		{"local_wrapped_tag", Authentication, "a bit changed", damaged(func(s *slot) { s.wrapped[103] ^= 1 })},
		{"local_wrapped_short", Authentication, "", damaged(func(s *slot) { s.wrapped = s.wrapped[:103] })},
		{"local_wrapped_long", Authentication, "", damaged(func(s *slot) { s.wrapped = append(s.wrapped, 0) })},
		{"local_wrapped_one_byte", Authentication, "", damaged(func(s *slot) { s.wrapped = s.wrapped[:1] })},
		{"local_data_key_31", Authentication, "31 bytes wrapped, with a commitment to them", func(b *build) { b.dataKey = b.dataKey[:31]; b.ring(b.wrap(b.local)) }},
		{"local_data_key_33", Authentication, "33 bytes wrapped, with a commitment to them", func(b *build) { b.dataKey = b.bytes(33); b.ring(b.wrap(b.local)) }},
		{"local_data_key_empty", Authentication, "no byte wrapped", func(b *build) {
			b.ring(b.local.wrap(b.bytes(saltSize), []byte{}, canonical(b.fullContext(), false)))
		}},
		{"local_context_value", Authentication, "", context(right, []pair{{"project", "scans"}, {"vaultpack:dataset", "faces"}})},
		{"local_context_name", Authentication, "", context(right, []pair{{"Project", "scans"}, {"vaultpack:dataset", "digits"}})},
		{"local_context_missing", Authentication, "", context(right, right[:1])},
		{"local_context_none", Authentication, "", context(right, nil)},
		{"local_context_more", Authentication, "", context(right[:1], right)},
		{"local_context_swapped", Authentication, "a name for its value", context([]pair{{"a", "b"}}, []pair{{"b", "a"}})},
		{"local_context_shifted", Authentication, "the same bytes, cut elsewhere", context([]pair{{"ab", "c"}}, []pair{{"a", "bc"}})},
		{"local_context_unsorted", Authentication, "bound in the order in which it was given", func(b *build) {
			b.context = []pair{{"z", "1"}, {"a", "2"}}
			b.ring(b.local.wrap(b.bytes(saltSize), b.dataKey, canonical(b.fullContext(), true)))
		}},
		{"local_no_key_id", Authentication, "the key ID is not in the bound context", func(b *build) {
			b.ring(b.local.wrap(b.bytes(saltSize), b.dataKey, canonical(b.context, false)))
		}},
		{"local_slot_of_another_keyring", Authentication, "the same data key under another ID", func(b *build) {
			id := b.keyID
			b.keyID = b.bytes(16)
			s := b.wrap(b.local)
			b.keyID = id
			b.ring(s)
		}},
		{"commitment_other_data_key", Authentication, "the slot opens, to another data key than the keyring's", func(b *build) {
			key := b.dataKey
			b.dataKey = b.bytes(32)
			s := b.wrap(b.local)
			b.dataKey = key
			b.ring(s)
		}},
		{"commitment_other_data_key_file_too", Authentication, "the slot and the file are of one data key, the commitment is not", func(b *build) {
			b.ring(b.wrap(b.local))
			b.keyring = keyringJSON(b.keyID, commitment(b.keyID, b.bytes(32)), b.wrap(b.local))
		}},
		{"commitment_other_key_id", Authentication, "to the same data key under another ID", func(b *build) {
			b.ring(b.wrap(b.local))
			b.keyring = keyringJSON(b.keyID, commitment(flipped(b.keyID, 3), b.dataKey), b.wrap(b.local))
		}},
		{"commitment_last_bit", Authentication, "", func(b *build) {
			b.ring(b.wrap(b.local))
			b.keyring = keyringJSON(b.keyID, flipped(commitment(b.keyID, b.dataKey), 31), b.wrap(b.local))
		}},
		{"commitment_first_bit", Authentication, "", func(b *build) {
			b.ring(b.wrap(b.local))
			b.keyring = keyringJSON(b.keyID, flipped(commitment(b.keyID, b.dataKey), 0), b.wrap(b.local))
		}},
		{"keyring_of_another_file", Authentication, "of the same key ID, over a file of another data key", func(b *build) {
			b.seal(100)
			b.dataKey = b.bytes(32)
			b.ring(b.wrap(b.local))
		}},
	}
}
