package strict

import (
	"encoding/json"
	"strconv"
)

// Writer writes claims as one JSON object. It checks neither names nor values.
// [ReadClaims] does: pass it the result.
type Writer struct{ json []byte }

// Bytes returns the object. Nothing may be written afterwards.
func (w *Writer) Bytes() []byte {
	if len(w.json) == 0 {
		return []byte("{}")
	}
	return append(w.json, '}')
}

func (w *Writer) name(name string) {
	if len(w.json) == 0 {
		w.json = append(make([]byte, 0, 256), '{')
	} else {
		w.json = append(w.json, ',')
	}
	w.json = append(appendString(w.json, name), ':')
}

// String writes a claim that is a string.
func (w *Writer) String(name, value string) {
	w.name(name)
	w.json = appendString(w.json, value)
}

// Number writes a claim that is a whole number.
func (w *Writer) Number(name string, value int64) {
	w.name(name)
	w.json = strconv.AppendInt(w.json, value, 10)
}

// Any writes a claim encoded with encoding/json. If the encoding fails, Any returns its
// error, and the object is no longer JSON.
func (w *Writer) Any(name string, value any) error {
	text, err := json.Marshal(value)
	w.name(name)
	w.json = append(w.json, text...)
	return err
}

// appendString appends value as a JSON string. It writes ASCII that needs no escapes
// itself, and leaves any other value to encoding/json.
func appendString(to []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(value)
			if err != nil {
				panic("jwtauth: " + err.Error()) // no string causes an error
			}
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, value...)
	return append(to, '"')
}
