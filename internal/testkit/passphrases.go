package testkit

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// An argon holds the parameters of a passphrase slot.
type argon struct {
	memory, time uint32
	threads      uint8
	salt         []byte
}

func (a argon) String() string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s", a.memory, a.time, a.threads, base64.RawStdEncoding.EncodeToString(a.salt))
}

// passphrase makes a passphrase slot, with the lowest Argon2id parameters allowed.
func (b *build) passphrase(text string) slot {
	a := argon{8192, 1, 1, b.bytes(16)}
	key := expand(argon2.IDKey([]byte(text), a.salt, a.time, a.memory, a.threads, 32), "vaultpack/v1 passphrase wrap", 32)
	sealed, _ := rightScheme().message(key, canonical(b.fullContext(), false), b.bytes(saltSize), b.dataKey, 0)
	return slot{"passphrase", a.String(), sealed}
}

func passphrases() []entry {
	const text = "correct horse"
	open := func(b *build, text string, slots ...slot) {
		b.ring(slots...)
		b.v.LocalKeys, b.v.Passphrases = nil, []string{text}
	}
	damaged := func(f func(s *slot)) func(*build) {
		return func(b *build) {
			b.context = []pair{{"project", "scans"}}
			s := b.passphrase(text)
			f(&s)
			open(b, text, s)
		}
	}
	// bad has wrong parameters in the right place.
	bad := func(old, new string) func(*build) {
		return damaged(func(s *slot) {
			if !strings.Contains(s.key, old) {
				panic(old)
			}
			s.key = strings.Replace(s.key, old, new, 1)
		})
	}
	return []entry{
		{"passphrase", Success, "", damaged(func(*slot) {})},
		{"passphrase_bytes", Success, "used byte for byte, spaces and all", func(b *build) {
			open(b, " Grüße:\tä  ", b.passphrase(" Grüße:\tä  "))
		}},
		{"passphrase_second_slot", Success, "which slot is whose cannot be seen", func(b *build) { open(b, text, b.passphrase("another"), b.passphrase(text)) }},
		{"passphrase_and_local", Success, "opened by the local key", func(b *build) { b.ring(b.passphrase(text), b.wrap(b.local)) }},
		{"passphrase_other", Authentication, "", func(b *build) { open(b, text+" ", b.passphrase(text)) }},
		{"passphrase_normalised", Authentication, "the same letter in another form", func(b *build) { open(b, "a\u0308", b.passphrase("\u00e4")) }},
		{"passphrase_no_slot", NoKey, "", func(b *build) { open(b, text, b.wrap(b.local)) }},
		{"passphrase_context", Authentication, "", func(b *build) {
			b.context = []pair{{"project", "scans"}}
			s := b.passphrase(text)
			b.context = []pair{{"project", "faces"}}
			open(b, text, s)
		}},
		{"passphrase_wrapped_bit", Authentication, "", damaged(func(s *slot) { s.wrapped[70] ^= 4 })},
		{"passphrase_wrapped_short", Authentication, "", damaged(func(s *slot) { s.wrapped = s.wrapped[:103] })},
		{"passphrase_wrapped_long", Authentication, "", damaged(func(s *slot) { s.wrapped = append(s.wrapped, 0) })},
		{"passphrase_salt_other", Authentication, "", damaged(func(s *slot) { s.key = argon{8192, 1, 1, make([]byte, 16)}.String() })},
		{"passphrase_more_time", Authentication, "than it was wrapped with", bad("t=1", "t=2")},
		{"passphrase_more_threads", Authentication, "than it was wrapped with", bad("p=1", "p=2")},
		{"passphrase_memory_8191", Format, "KiB, one less than the least", bad("m=8192", "m=8191")},
		{"passphrase_memory_1048577", Format, "KiB, one more than the most", bad("m=8192", "m=1048577")},
		{"passphrase_memory_32_bits", Format, "8192 and 2 to the power of 32", bad("m=8192", "m=4294975488")},
		{"passphrase_time_0", Format, "", bad("t=1", "t=0")},
		{"passphrase_time_huge", Format, "", bad("t=1", "t=4294967295")},
		{"passphrase_work", Format, "5 GiB of one slot", bad("m=8192,t=1", "m=1048576,t=5")},
		{"passphrase_work_of_all", Format, "9 GiB of three slots", func(b *build) {
			s := b.passphrase(text)
			s.key = strings.Replace(s.key, "m=8192,t=1", "m=1048576,t=3", 1)
			open(b, text, s, s, s)
		}},
		{"passphrase_threads_0", Format, "", bad("p=1", "p=0")},
		{"passphrase_threads_17", Format, "", bad("p=1", "p=17")},
		{"passphrase_leading_zero", Format, "another way to write the same", bad("m=8192", "m=08192")},
		{"passphrase_plus", Format, "another way to write the same", bad("m=8192", "m=+8192")},
		{"passphrase_order", Format, "", bad("m=8192,t=1", "t=1,m=8192")},
		{"passphrase_space", Format, "", bad("m=8192", "m= 8192")},
		{"passphrase_version", Format, "", bad("v=19", "v=16")},
		{"passphrase_argon2i", Format, "", bad("argon2id", "argon2i")},
		{"passphrase_more", Format, "a hash behind the salt", damaged(func(s *slot) { s.key += "$AAAA" })},
		{"passphrase_salt_15", Format, "bytes", damaged(func(s *slot) { s.key = argon{8192, 1, 1, make([]byte, 15)}.String() })},
		{"passphrase_salt_17", Format, "bytes", damaged(func(s *slot) { s.key = argon{8192, 1, 1, make([]byte, 17)}.String() })},
		{"passphrase_salt_padded", Format, "", damaged(func(s *slot) { s.key += "==" })},
		{"passphrase_no_parameters", Format, "", damaged(func(s *slot) { s.key = "x" })},
		{"passphrase_parameters_beside_local", Format, "not even where another slot would open", func(b *build) {
			s := b.passphrase(text)
			s.key = "x"
			b.ring(b.wrap(b.local), s)
		}},
	}
}
