# Tools are pinned here and run by the go command; nothing is installed.
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = go run golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: build binaries test check lint peers pulumi fuse thirtytwo python wheel vuln race fuzz mutants mutants-sample bench bench-peers bench-compare bench-gate bench-record bench-s3

build: ## the static binaries, bin/vaultpack and bin/vaultpack-run
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/vaultpack ./cmd/vaultpack-run

binaries: ## for training containers: bin/vaultpack-run-linux-amd64 and -arm64
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags='-s -w' -o bin/vaultpack-run-linux-$$arch ./cmd/vaultpack-run || exit 1; \
	done

test: ## go test ./..., and what it left out
	go run ./internal/testrun ./...

check: ## everything that CI checks
	.ci/run lint python stranger servers race rest modules mutants

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	go mod tidy -diff

# The database of vulnerabilities is on the network. Where it cannot be reached
# this says so and goes on; a finding fails.
vuln:
	@$(GOVULNCHECK) ./... > .govulncheck.out 2>&1; code=$$?; cat .govulncheck.out; \
	if [ $$code -ne 0 ] && grep -qE 'fetching vulnerabilities|no such host|connection refused|Forbidden|403' .govulncheck.out; \
	then echo 'govulncheck: no vulnerability database in reach, not checked'; code=0; fi; \
	rm -f .govulncheck.out; exit $$code

# bench/peers is a module of its own, which ./... does not reach.
peers:
	cd bench/peers && go vet ./... && go mod tidy -diff && go test -short ./...

# deploy/pulumi is one too. Of Pulumi's SDK for AWS it uses three packages: all of it
# would take many minutes to compile.
pulumi:
	cd deploy/pulumi && go vet ./... && $(STATICCHECK) ./... && go mod tidy -diff && go test ./...

# internal/fusetest is one too. It mounts a file system, which takes root and /dev/fuse;
# where there is none it says so, and fails if VAULTPACK_FUSE=1 says that there is.
fuse:
	cd internal/fusetest && go vet ./... && go mod tidy -diff && go test -v ./...

# Sizes and offsets are numbers of 64 bits, also where an int has 32. Most machines with an
# amd64 run programs for 386, in which AES is slow: the tests of most bytes are left out.
# Some kernels run none (ia32_emulation=off); there the programs are only built.
thirtytwo:
	GOARCH=arm go vet ./envelope/... ./dataset ./uploader
	GOARCH=386 go vet ./envelope/... ./dataset ./vault ./config ./uploader ./trainer ./cmd/vaultpack
	GOARCH=386 go build -o /dev/null ./cmd/vaultpack
	@d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && echo 'package main; func main() {}' >"$$d/main.go" && \
	GOARCH=386 CGO_ENABLED=0 go build -o "$$d/main" "$$d/main.go" && \
	if ! "$$d/main"; then echo 'NOT TESTED: this machine runs no programs for 386, so their tests are left out'; else set -x; \
	GOARCH=386 go test -short -skip 'RoundTrip|Malice|ParallelSources|DestinationBreaks|WaysToWrite|EveryBit|Allocations' ./envelope && \
	GOARCH=386 go test -short -skip 'PanicsReachTheCaller|CloseBeside' ./dataset; fi

# The Python package, held to the same vectors as package envelope. The tests run the
# program of this tree.
PYTHON = python3
python: ## the tests of the Python package; PYTHON=… for another interpreter
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/vaultpack ./internal/kmsserve
	cd python && VAULTPACK_COMMAND=$(CURDIR)/bin/vaultpack $(PYTHON) -B -m tests

wheel: ## wheels of the Python package that carry the command: dist/, for linux amd64 and arm64
	for arch in amd64:x86_64 arm64:aarch64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$${arch%:*} go build -trimpath -ldflags='-s -w' -o bin/vaultpack-linux-$${arch%:*} ./cmd/vaultpack && \
	  $(PYTHON) python/platform_wheel.py --command bin/vaultpack-linux-$${arch%:*} --platform manylinux2014_$${arch\#*:} dist || exit 1; \
	done

race:
	CGO_ENABLED=1 go run ./internal/testrun -- -race -timeout 30m ./...

bench: ## every benchmark, beside its limit; see docs/BENCHMARKS.md
	go test -run '^$$' -bench . ./bench

bench-peers: ## the same bytes through other libraries
	cd bench/peers && go test -run '^$$' -bench . -benchtime 3x

bench-compare: ## make bench-compare BASE=rev: old and new in turns
	bench/compare.sh $(BASE)

bench-gate: ## make bench-gate BASE=rev: fails where a ratio to the limit has dropped
	bench/compare.sh -gate $(BASE)

bench-record: ## measure everything, and write it into docs/BENCHMARKS.md
	bench/record.sh

bench-s3: ## the program beside s5cmd, cp, tar and find, into docs/BENCHMARKS.md
	bench/s3.sh -write

mutants: ## faults put into the code, each of which a test has to notice; takes long
	go run ./internal/mutants

mutants-sample: ## five of those that were killed before, others each day
	go run ./internal/mutants -sample 5

fuzz: ## every fuzz target, a minute each
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    go test $$pkg -run '^$$' -fuzz "^$$target$$" -fuzztime $${FUZZTIME:-60s} || exit 1; \
	  done; \
	done
