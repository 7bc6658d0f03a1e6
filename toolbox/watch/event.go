package watch

import "time"

// Event is one change, as clients get it.
type Event struct {
	Type Type   `json:"type"`
	Path string `json:"path,omitempty"` // absolute
	// OldPath is where something that was renamed had been.
	OldPath string    `json:"oldPath,omitempty"`
	IsDir   bool      `json:"isDir"`
	Time    time.Time `json:"time"` // when it was noticed
	// Message says why, for a person; with Unwatched.
	Message string `json:"message,omitempty"`
}

// Type says what happened.
type Type string

// The types of events.
const (
	// Ready comes first: every change from here on is told. What a client
	// lists after it is complete.
	Ready Type = "ready"
	// Created is something new. What a new directory holds already follows.
	Created Type = "created"
	// Modified is new content or new attributes. Changes that follow each
	// other quickly may be told once.
	Modified Type = "modified"
	// Deleted is gone, or was moved to where nobody watches.
	Deleted Type = "deleted"
	// Renamed is at Path what was at OldPath, with everything in it.
	Renamed Type = "renamed"
	// MovedIn came from where nobody watches. What a directory holds follows
	// as created.
	MovedIn Type = "moved-in"
	// Overflow means that changes were lost since they came faster than they
	// could be told: the client must look at the whole tree again.
	Overflow Type = "overflow"
	// Unwatched is a directory whose changes are not told.
	Unwatched Type = "unwatched"
)
