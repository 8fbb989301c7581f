package codec

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzQuickLine: what quickLine reads is what encoding/json reads.
func FuzzQuickLine(f *testing.F) {
	quick := []string{
		`{"path":"","mode":493,"mtime":[-5,7]}`,
		`{"path":"a/b.bin","size":1024,"mode":420,"mtime":[1764000000,999999999],"extents":[[0,512,1024]],"seen":[0,123456,1764000000,5]}`,
		`{"path":"x","size":30,"mode":4095,"mtime":[0,0],"extents":[[0,0,10],[1,0,20]],"sums":["AAAAAAAAAAAAAAAAAAAAAA","/+AAAAAAAAAAAAAAAAAAAA"],"seen":[0,1,1,2],"recent":true}`,
		`{"path":"x","size":30,"mode":4095,"mtime":[0,0],"sha256":"00ff","extents":[[0,0,10],[1,0,20]],"seen":[0,-1,1,2]}`,
	}
	slow := []string{
		`{"path":"\u0061","mode":1,"mtime":[0,0]}`, `{"path":"é","mode":1,"mtime":[0,0]}`, `{"path":"","path64":"/w==","mode":1,"mtime":[0,0]}`,
		`{"path":"x","mode":1,"mtime":[0,0],"link":"y"}`, `{"path":"x","size":9223372036854775807,"mode":1,"mtime":[0,0]}`,
		`{"path":"x","size":5,"mode":1,"mtime":[0,0],"extents":[[0,0,5]],"at":[7]}`, `{"path":"x","mode":1,"mtime":[0,0]} `, `{"path":"x","mode":1,"mtime":[0,0],"flaw":"kept"}`,
	}
	wrong := []string{
		``, `{`, `{"path":"x","mode":01,"mtime":[0,0]}`, `{"path":"x","mode":1,"mtime":[0,0]}x`, `{"path":"x","mode":1,"mtime":[0,-]}`,
		`{"path":"x","size":9223372036854775808,"mode":1,"mtime":[0,0]}`, `{"path":"x` + "\n" + `","mode":1,"mtime":[0,0]}`, `{"path":"x","mode":-1,"mtime":[0,0]}`,
		`{"path":"x","mode":1,"mtime":[0,0],"extents":[[0,0,5],]}`,
	}
	for i, lines := range [][]string{quick, slow, wrong} {
		for _, line := range lines {
			f.Add([]byte(line))
			if got := new(entryJSON).quickLine([]byte(line)); got != (i == 0) {
				f.Errorf("quickLine(%s) = %v", line, got)
			}
			if err := json.Unmarshal([]byte(line), new(entryJSON)); (err == nil) != (i < 2) {
				f.Errorf("%s: %v", line, err)
			}
		}
	}
	used := &entryJSON{Path: "old", Sum: "old", Size: 9, Extents: make([][3]int64, 5), Sums: make([]string, 3), Recent: true, Flaw: "torn", At: []int64{1}, Seen: make([]int64, 7)}
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, got := range []*entryJSON{{}, used} {
			if !got.quickLine(line) {
				continue
			}
			var want entryJSON
			if err := json.Unmarshal(line, &want); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			same := *got // empty and nil are the same
			if len(same.Extents) == 0 && len(want.Extents) == 0 {
				same.Extents = want.Extents
			}
			if len(same.Sums) == 0 && len(want.Sums) == 0 {
				same.Sums = want.Sums
			}
			if len(same.Seen) == 0 && len(want.Seen) == 0 {
				same.Seen = want.Seen
			}
			if !reflect.DeepEqual(same, want) {
				t.Errorf("%s: %+v, want %+v", line, same, want)
			}
		}
	})
}

func BenchmarkDecodeLine(b *testing.B) {
	line := []byte(`{"path":"folder-0001/sample-000001.bin","size":1024,"mode":420,"mtime":[1764000000,123456789],"extents":[[0,512,1024]],"seen":[0,123456,1764000000,123456789]}`)
	var j entryJSON
	b.Run("quick", func(b *testing.B) {
		for b.Loop() {
			if !j.quickLine(line) {
				b.Fatal("it is left to encoding/json")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			if err := json.Unmarshal(line, &j); err != nil {
				b.Fatal(err)
			}
		}
	})
}
