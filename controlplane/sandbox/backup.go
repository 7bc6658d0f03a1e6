package sandbox

import (
	"time"

	"daytona/controlplane/upload"
	"daytona/internal/chunkstore"
)

// BackupState is where a sandbox's backup stands.
type BackupState string

// The states of a backup.
const (
	BackupNone       BackupState = "None"
	BackupPending    BackupState = "Pending"
	BackupInProgress BackupState = "InProgress"
	BackupCompleted  BackupState = "Completed"
	BackupError      BackupState = "Error"
)

// Backup is what object storage has of a sandbox's files. Once there was a
// complete one, At, Ref and Base are of the latest; State may be of the next.
type Backup struct {
	State BackupState    `json:"state"`
	At    time.Time      `json:"at,omitzero"`    // when the latest one was complete; zero is never
	Ref   chunkstore.Ref `json:"ref,omitzero"`   // what it consists of
	Base  string         `json:"base,omitempty"` // of the image below it, as the runner calls it
	Error string         `json:"error,omitempty"`
	// Tried is when the last attempt ended without one; zero after one that did not.
	Tried time.Time `json:"tried,omitzero"`
	// RunnerID is of the runner that had the sandbox before it was archived.
	RunnerID string `json:"runnerId,omitempty"`
	// Avoid is of a runner to which it could not be restored.
	Avoid string `json:"avoid,omitempty"`
}

// Complete reports whether the sandbox can be restored from it.
func (b *Backup) Complete() bool { return b != nil && !b.At.IsZero() }

// wantsBackup reports whether a backup is to be made of a sandbox that rests.
func (s Sandbox) wantsBackup() bool {
	rests := s.State == Started && s.Desired == Started || s.State == Stopped && s.Desired == Stopped
	return rests && s.Backup != nil && (s.Backup.State == BackupPending || s.Backup.State == BackupInProgress)
}

// NextBackup says when a sandbox is backed up unasked: every so often while it runs,
// and once after it has stopped. One that failed is tried again after that time.
func NextBackup(sb Sandbox, every time.Duration, now time.Time) Step {
	if every <= 0 || sb.Ephemeral() || sb.wantsBackup() || sb.Shown() != sb.State || !sb.atRest() {
		return Step{}
	}
	at := sb.StateSince
	if sb.State == Started {
		at = at.Add(every)
	}
	if b := sb.Backup; b != nil {
		if sb.State == Stopped && b.At.After(sb.StateSince) {
			return Step{}
		}
		if sb.State == Started && b.Complete() {
			at = b.At.Add(every)
		}
		if !b.Tried.IsZero() {
			at = later(at, b.Tried.Add(every))
		}
	}
	if now.Before(at) {
		return Step{At: at}
	}
	return Step{Do: DoAutoBackup}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Ephemeral reports whether a sandbox goes when it stops.
func (s Sandbox) Ephemeral() bool { return s.AutoDelete == 0 }

// archivePrefix is where the files of a sandbox are in object storage. It is in
// nobody's reach but the server's: clients reach keys that begin with the id of
// their organization.
func archivePrefix(sb Sandbox) string { return upload.Archives + sb.OrgID + "/" + sb.ID + "/" }
