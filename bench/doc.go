// Package bench measures how fast package envelope seals and opens, and compares
// every figure with a limit that is measured in the same run: AES-256-GCM of the
// standard library over bare 16 KiB chunks, without a format, on as many cores and
// with the same input and output. No format built on that cipher and chunk size can
// be faster, so the metric "ratio" (speed over the limit's speed) says how much of
// the machine is used, on any machine.
//
// The package holds benchmarks and tests only:
//
//	go test -run '^$' -bench . ./bench
//
// takes several minutes and up to 4 GiB of memory; -short leaves out sizes over 16
// MiB. The files of the file benchmarks are in b.TempDir, so TMPDIR chooses the
// file system. The names have the form
//
//	BenchmarkSeal/call=ReadFrom/size=1G/workers=all
//
// and docs/BENCHMARKS.md says what they mean, how runs are compared (compare.sh),
// gated (gate) and recorded (record.sh), and what the results are.
package bench
