// Package deps has no code: its test says which package may depend on what.
package deps
