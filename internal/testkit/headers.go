package testkit

import (
	"bytes"
	"fmt"
)

func headers() []entry {
	cut := func(n int) func(*build) {
		return func(b *build) { b.after = func(f []byte) []byte { return f[:n] } }
	}
	t := []entry{
		{"header_none", Format, "a file of no bytes", cut(0)},
		{"header_magic_other", Format, "", func(b *build) { b.magic = "vaultpax" }},
		{"header_magic_version", Format, "another version", func(b *build) { b.magic = "vaultpk2" }},
		{"header_magic_case", Format, "", func(b *build) { b.magic = "VAULTPK1" }},
		{"header_leading_byte", Format, "", func(b *build) { b.after = func(f []byte) []byte { return append([]byte("\n"), f...) } }},
		{"header_kind_unknown", Format, "", func(b *build) { b.kind, b.v.Kind = "data", "pack" }},
		{"header_kind_case", Format, "", func(b *build) { b.kind = "FILE" }},
		{"header_kind_zero", Format, "", func(b *build) { b.kind = "\x00\x00\x00\x00" }},
		{"header_keyring_65537", Format, "longer than a keyring may be, and there", func(b *build) { b.ringLen = maxKeyring + 1; b.seal(maxKeyring + 100) }},
		{"header_keyring_huge", Format, "", func(b *build) { b.ringLen = 1 << 31 }},
		{"header_keyring_little_endian", Format, "", func(b *build) {
			b.ring(b.wrap(b.local))
			n := int64(len(b.keyring))
			b.ringLen = n<<24 | n>>8<<16
		}},
		{"header_keyring_length_less_one", Format, "", func(b *build) { b.ring(b.wrap(b.local)); b.ringLen = int64(len(b.keyring)) - 1 }},
		{"header_keyring_length_and_one", Format, "", func(b *build) { b.ring(b.wrap(b.local)); b.ringLen = int64(len(b.keyring)) + 1 }},
		{"header_keyring_cut", Format, "", func(b *build) {
			b.ring(b.wrap(b.local))
			b.after = func(f []byte) []byte { return f[:64+len(b.keyring)-1] }
		}},
		{"header_keyring_absent", Format, "a length and then the end", func(b *build) {
			b.ring(b.wrap(b.local))
			cut(64)(b)
		}},
		{"header_keyring_other_key_id", Format, "the keyring is of another data key than the header", func(b *build) {
			b.ring(b.wrap(b.local))
			b.keyID = b.bytes(16)
		}},
		{"header_key_id", Authentication, "not the data key's", func(b *build) { b.keyID = flipped(b.keyID, 0) }},
		{"header_object_id", Authentication, "changed after sealing", change(28)},
		{"header_object_id_last", Authentication, "changed after sealing", change(59)},
		{"header_kind_changed", Authentication, "sealed as a file, then renamed to a pack", func(b *build) {
			b.v.Kind = "pack"
			b.after = func(f []byte) []byte { copy(f[8:], "pack"); return f }
		}},
		{"header_key_id_changed_later", Authentication, "the right ID in the header, another when it was sealed", func(b *build) {
			right := b.keyID
			b.keyID = flipped(right, 15)
			b.seal(100)
			b.keyID = right
		}},
		{"wrong_data_key", Authentication, "of the same ID", func(b *build) { b.v.DataKey = flipped(b.dataKey, 31) }},
		{"no_keyring", NoKeyring, "opened with a local key", func(b *build) { b.openLocal(b.local) }},
		{"no_keyring_pack", NoKeyring, "of the wrong kind for a file on its own", func(b *build) {
			b.kind = "pack"
			b.openLocal(b.local)
		}},
	}
	for _, n := range []int{1, 7, 8, 11, 12, 27, 28, 59, 60, 63} {
		t = append(t, entry{fmt.Sprintf("header_cut_%d", n), Format, "", cut(n)})
	}
	for _, k := range []string{"pack", "indx", "vers"} {
		t = append(t, entry{"kind_file_as_" + k, Authentication, "opened as what it is not", func(b *build) { b.v.Kind = k }})
	}
	return append(t, entry{"kind_indx_as_vers", Authentication, "opened as what it is not", func(b *build) { b.kind, b.v.Kind = "indx", "vers" }})
}

func flipped(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// change flips a bit of the file's byte i, counted from the end if i is negative.
func change(i int) func(*build) {
	return func(b *build) {
		b.after = func(f []byte) []byte { return flipped(f, (i+len(f))%len(f)) }
	}
}
