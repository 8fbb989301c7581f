module github.com/vaultpack/vaultpack

go 1.26.0
