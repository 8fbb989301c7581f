package samples

import "strings"

// stem returns the length of the part of a file's name before the first dot. A name
// that has no dot, or begins with one, is its own stem.
func stem(name string) int {
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		return dot
	}
	return len(name)
}

// base returns the index at which the file's name begins in its path.
func base(path string) int { return strings.LastIndexByte(path, '/') + 1 }

// isSeries reports whether the rests of two of the names are equal apart from digits.
// All of them have a stem of the given length.
func isSeries(names []string, stem int) bool {
	if len(names) < 2 {
		return false
	}
	rests := make(map[string]bool, len(names))
	for _, name := range names {
		rests[withoutDigits(name[stem:])] = true
	}
	return len(rests) < len(names)
}

func withoutDigits(s string) string {
	b := make([]byte, 0, len(s))
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			b = append(b, c)
		}
	}
	return string(b)
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// keyLen returns how much of a file's path is the key of its sample.
func keyLen(path string, inSeries series) int {
	folder := base(path)
	name := path[folder:]
	end := folder + stem(name)
	if inSeries {
		parts := strings.Split(path[end:], ".") // the first is empty: the rest begins with a dot
		k := len(parts) - 1
		d := k - 1
		for i := k; i >= 1; i-- {
			if allDigits(parts[i]) {
				d = i
				break
			}
		}
		if d <= 0 {
			d = k
		}
		for _, p := range parts[1 : d+1] {
			end += 1 + len(p)
		}
	}
	if end == len(path)-1 {
		return len(path) // an empty field after a dot
	}
	return end
}

// series says whether a file is in a group in which each file is a separate sample, such
// as img.001.jpg and img.002.jpg.
type series bool

// field returns the field of a file in a sample whose key has the given length.
func field(path string, key int) string {
	if key >= len(path) {
		return ""
	}
	return path[key+1:]
}
