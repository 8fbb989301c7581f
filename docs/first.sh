#!/bin/sh
# Records the first minutes with vaultpack as a picture, docs/first.svg: runs the commands
# below in a new home folder, and draws what they print.
#
#   docs/first.sh
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -o "$tmp/bin/vaultpack" ./cmd/vaultpack
mkdir "$tmp/home"

run() {
	printf '$ %s\n' "$*" >>"$tmp/text"
	# Times and folders are this run's; who reads the picture has others.
	env -i HOME="$tmp/home" PATH="$tmp/bin:$PATH" TZ=UTC sh -c "$*" 2>&1 |
		sed -e "s|$tmp/home|~|g" -e '/^Keep a copy/,/^  vaultpack signers/d' -e '/^Next:/,$d' -e "s|/dev/shm/vaultpack-train[^ ]*|/dev/shm/vaultpack-train-…|" \
			-e '/^epoch [2-9]:/d' -e 's|^vaultpack: the job.s plaintext|vaultpack: the plaintext|' |
		sed -e '/^$/d' >>"$tmp/text"
	echo >>"$tmp/text"
}

run vaultpack encrypt-and-upload testdata/dataset
run "vaultpack train --local dataset --name first -- python3 examples/digits/train.py"
run "vaultpack verify dataset"
run "vaultpack provenance dataset-models"

awk '
	function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); return s }
	{
		line = substr($0, 1, 104)
		if (length($0) > 104) line = substr($0, 1, 103) "…"
		lines[n++] = line
	}
	END {
		while (n > 0 && lines[n - 1] == "") n--
		high = 34 + 18 * n
		printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 880 %d\" width=\"880\" height=\"%d\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">\n", high, high
		printf "<rect width=\"880\" height=\"%d\" rx=\"8\" fill=\"#1e1e1e\"/>\n", high
		for (i = 0; i < n; i++)
			if (lines[i] != "")
				printf "<text x=\"18\" y=\"%d\" fill=\"%s\" xml:space=\"preserve\">%s</text>\n", 32 + 18 * i, substr(lines[i], 1, 1) == "$" ? "#9cdcfe" : "#d4d4d4", escape(lines[i])
		print "</svg>"
	}' "$tmp/text" >docs/first.svg
