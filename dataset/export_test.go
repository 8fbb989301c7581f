package dataset

// ReadAhead is how many entries of a part are taken before the next part is read.
const ReadAhead = readAhead
