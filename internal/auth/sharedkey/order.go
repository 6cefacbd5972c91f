package sharedkey

// The service sorts header names as .NET compares strings in the invariant culture: first by the weights of
// the characters that have one, and names that are equal so far by where the weightless "'" and "-" stand.

// weighted holds the characters of header names that have a primary weight, lightest first. All others are skipped.
const weighted = "!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz"

var weights = func() (w [256]byte) {
	for i := 0; i < len(weighted); i++ {
		w[weighted[i]] = byte(i) + 1
	}
	return w
}()

// compareWeights compares two names in lower case.
func compareWeights(a, b []byte) int {
	i, j := 0, 0
	for {
		for i < len(a) && weights[a[i]] == 0 {
			i++
		}
		for j < len(b) && weights[b[j]] == 0 {
			j++
		}
		if i == len(a) || j == len(b) {
			break
		}
		if wa, wb := weights[a[i]], weights[b[j]]; wa != wb {
			return int(wa) - int(wb)
		}
		i, j = i+1, j+1
	}
	if i < len(a) {
		return 1
	}
	if j < len(b) {
		return -1
	}
	return compareMarks(a, b)
}

// compareMarks orders names that differ only in weightless characters: whichever has one first is the later, and "-" comes
// after "'".
func compareMarks(a, b []byte) int {
	for k := 0; k < len(a) && k < len(b); k++ {
		if ma, mb := mark(a[k]), mark(b[k]); ma != mb {
			return ma - mb
		}
	}
	return len(a) - len(b)
}

func mark(c byte) int {
	switch c {
	case '\'':
		return 1
	case '-':
		return 2
	}
	return 0
}
