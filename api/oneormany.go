package api

import "encoding/json"

// OneOrMany is a list of strings that a client may also send as one string.
type OneOrMany []string

// UnmarshalJSON accepts a string, an array of strings, or null.
func (o *OneOrMany) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*o = nil
		if one != "" {
			*o = OneOrMany{one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	*o = many
	return nil
}
