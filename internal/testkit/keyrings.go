package testkit

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// keyrings has keyrings that are JSON, or nearly, but not in the canonical encoding.
func keyrings() []entry {
	edit := func(old, new string) func(*build) {
		return func(b *build) { b.ring(b.wrap(b.local)); b.edit(old, new) }
	}
	with := func(f func(b *build, ring string) string) func(*build) {
		return func(b *build) { b.ring(b.wrap(b.local)); b.keyring = f(b, b.keyring) }
	}
	// commit replaces the base64 of the commitment.
	commit := func(f func(b *build) string) func(*build) {
		return func(b *build) {
			b.ring(b.wrap(b.local))
			b.edit(base64.StdEncoding.EncodeToString(commitment(b.keyID, b.dataKey)), f(b))
		}
	}
	slots := func(f func(b *build) []slot) func(*build) { return func(b *build) { b.ring(f(b)...) } }
	kind := func(k string) func(*build) {
		return slots(func(b *build) []slot { return []slot{b.wrap(b.local), {k, "x", []byte{1}}} })
	}
	key := func(k string) func(*build) {
		return slots(func(b *build) []slot { return []slot{b.wrap(b.local), {"k", k, []byte{1}}} })
	}
	t := []struct {
		name, comment string
		build         func(*build)
	}{
		{"not_json", "", with(func(_ *build, r string) string { return strings.Repeat("x", len(r)) })},
		{"empty_object", "", with(func(*build, string) string { return "{}" })},
		{"null", "", with(func(*build, string) string { return "null" })},
		{"array", "", with(func(_ *build, r string) string { return "[" + r + "]" })},
		{"space_before", "", with(func(_ *build, r string) string { return " " + r })},
		{"newline_after", "", with(func(_ *build, r string) string { return r + "\n" })},
		{"zero_after", "", with(func(_ *build, r string) string { return r + "\x00" })},
		{"bom", "", with(func(_ *build, r string) string { return "\ufeff" + r })},
		{"object_after", "", with(func(_ *build, r string) string { return r + "{}" })},
		{"space_inside", "", edit(`"slots":`, `"slots": `)},
		{"format_2", "another version", edit("keyring/1", "keyring/2")},
		{"format_case", "", edit("vaultpack-keyring", "Vaultpack-keyring")},
		{"format_name_case", "some JSON readers take any case", edit(`"format"`, `"Format"`)},
		{"format_escaped", "the same text in other bytes", edit("vaultpack-keyring/1", `vaultpack-keyring\/1`)},
		{"kind_escaped", "the same text in other bytes", edit(`"local"`, `"\u006cocal"`)},
		{"format_missing", "", edit(`"format":"vaultpack-keyring/1",`, "")},
		{"key_id_missing", "", with(func(b *build, r string) string {
			return strings.Replace(r, fmt.Sprintf(`"key_id":"%x",`, b.keyID), "", 1)
		})},
		{"commitment_missing", "", with(func(b *build, r string) string {
			i, j := strings.Index(r, `"commitment"`), strings.Index(r, `"slots"`)
			return r[:i] + r[j:]
		})},
		{"slots_missing", "", with(func(b *build, r string) string { return r[:strings.Index(r, `,"slots"`)] + "}" })},
		{"slots_null", "", with(func(b *build, r string) string { return r[:strings.Index(r, `[`)] + "null}" })},
		{"slots_object", "", with(func(b *build, r string) string { i := strings.Index(r, `[`); return r[:i] + r[i+1:len(r)-2] + "}" })},
		{"no_slot", "", slots(func(*build) []slot { return nil })},
		{"65_slots", "", slots(func(b *build) (s []slot) {
			for range 64 {
				s = append(s, slot{"k", "x", []byte{1}})
			}
			return append(s, b.wrap(b.local))
		})},
		{"unknown_field", "", edit(`{"format"`, `{"a":1,"format"`)},
		{"unknown_field_last", "", with(func(_ *build, r string) string { return r[:len(r)-1] + `,"z":null}` })},
		{"field_twice", "the second is the right one", edit(`{"format"`, `{"format":"vaultpack-keyring/2","format"`)},
		{"field_twice_same", "", edit(`{"format"`, `{"format":"vaultpack-keyring/1","format"`)},
		{"fields_exchanged", "", with(func(b *build, r string) string {
			id := fmt.Sprintf(`"key_id":"%x",`, b.keyID)
			return strings.Replace(strings.Replace(r, id, "", 1), "{", "{"+id, 1)
		})},
		{"key_id_upper_case", "", with(func(b *build, r string) string {
			id := hex.EncodeToString(b.keyID)
			return strings.Replace(r, id, strings.ToUpper(id), 1)
		})},
		{"key_id_short", "", with(func(b *build, r string) string { return strings.Replace(r, hex.EncodeToString(b.keyID[:1]), "", 1) })},
		{"key_id_long", "", edit(`","commitment"`, `00","commitment"`)},
		{"key_id_odd", "", edit(`","commitment"`, `0","commitment"`)},
		{"key_id_empty", "", with(func(b *build, r string) string { return strings.Replace(r, hex.EncodeToString(b.keyID), "", 1) })},
		{"key_id_number", "", with(func(b *build, r string) string {
			return strings.Replace(r, `"`+hex.EncodeToString(b.keyID)+`"`, "1", 1)
		})},
		{"commitment_31", "bytes", commit(func(b *build) string {
			return base64.StdEncoding.EncodeToString(commitment(b.keyID, b.dataKey)[:31])
		})},
		{"commitment_33", "bytes", commit(func(b *build) string {
			return base64.StdEncoding.EncodeToString(append(commitment(b.keyID, b.dataKey), 0))
		})},
		{"commitment_empty", "", commit(func(*build) string { return "" })},
		{"commitment_unpadded", "base64 without padding", commit(func(b *build) string {
			return base64.RawStdEncoding.EncodeToString(commitment(b.keyID, b.dataKey))
		})},
		{"commitment_url", "the other base64", commit(func(b *build) string {
			if !strings.ContainsAny(base64.StdEncoding.EncodeToString(commitment(b.keyID, b.dataKey)), "+/") {
				panic("choose another name: this commitment is the same in both")
			}
			return base64.URLEncoding.EncodeToString(commitment(b.keyID, b.dataKey))
		})},
		{"commitment_trailing_bits", "base64 with bits in its last digit that say nothing", commit(func(b *build) string {
			s := base64.StdEncoding.EncodeToString(commitment(b.keyID, b.dataKey))
			const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
			return s[:42] + string(digits[strings.IndexByte(digits, s[42])+1]) + "="
		})},
		{"commitment_newline", "base64 in two lines", commit(func(b *build) string {
			s := base64.StdEncoding.EncodeToString(commitment(b.keyID, b.dataKey))
			return s[:20] + `\n` + s[20:]
		})},
		{"slot_kind_empty", "", kind("")},
		{"slot_kind_33", "bytes", kind(strings.Repeat("k", 33))},
		{"slot_kind_utf8", "", kind("é")},
		{"slot_kind_markup", "some JSON writers escape it", kind("<")},
		{"slot_kind_delete", "", kind("\x7f")},
		{"slot_key_empty", "", key("")},
		{"slot_key_2049", "bytes", key(strings.Repeat("x", 2049))},
		{"slot_key_ampersand", "some JSON writers escape it", key("a&b")},
		{"slot_key_backslash", "", key(`a\\b`)},
		{"slot_key_quote", "", key(`a\"b`)},
		{"slot_key_invalid_utf8", "", key("a\xffb")},
		{"slot_key_control", "", key(`a\tb`)},
		{"slot_wrapped_empty", "", slots(func(b *build) []slot { return []slot{b.wrap(b.local), {"k", "x", nil}} })},
		{"slot_wrapped_16385", "bytes", slots(func(b *build) []slot { return []slot{b.wrap(b.local), {"k", "x", make([]byte, 16385)}} })},
		{"slot_wrapped_unpadded", "", func(b *build) {
			b.ring(b.wrap(b.local), slot{"k", "x", []byte{1, 2}})
			b.edit(`"AQI="`, `"AQI"`)
		}},
		{"slot_null", "", edit("[{", "[null,{")},
		{"slot_unknown_field", "", edit(`{"kind"`, `{"a":1,"kind"`)},
		{"slot_field_twice", "", edit(`{"kind"`, `{"kind":"local","kind"`)},
		{"slot_fields_exchanged", "", edit(`"kind":"local","key":`, `"key":"x","kind":"local","key":`)},
		{"65537", "a byte over the limit", func(b *build) { b.largeRing(maxKeyring + 1) }},
	}
	var out []entry
	for _, e := range t {
		out = append(out, entry{"keyring_" + e.name, Format, e.comment, e.build})
	}
	return out
}
