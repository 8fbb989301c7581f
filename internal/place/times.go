package place

import (
	"time"
)

// HeldTime reports whether a file system might have stored a time as another one:
// truncated to its resolution, or clamped to its range.
func HeldTime(got, want time.Time) bool {
	if got.Equal(want) {
		return true
	}
	for _, unit := range []int64{100, 1000, 10_000_000, 1_000_000_000} { // NTFS; many; exFAT; ext3
		if got.Unix() == want.Unix() && int64(got.Nanosecond()) == int64(want.Nanosecond())/unit*unit {
			return true
		}
	}
	sec := want.Unix()
	if got.Nanosecond() == 0 && got.Unix() == sec-sec&1 { // FAT
		return true
	}
	// 1901, 1970 and 1980; 2038, 2106, 2107, 2262, 2446 and 2486: the ends of file systems'
	// ranges.
	for _, least := range []int64{-1 << 31, 0, 315532800} {
		if sec < least && got.Unix() == least {
			return true
		}
	}
	for _, most := range []int64{1<<31 - 1, 1<<32 - 1, 4354819198, 4354819199, 9223372036, 15032385535, 16299260424, 16299260425} {
		if sec >= most && got.Unix() == most {
			return true
		}
	}
	return false
}
