// Package imagequeue is the order of work on images: what is asked for waits
// for its turn, is carried out, and is remembered.
//
// Every job has a directory, named after a hash of its image's name:
//
//	job.json   its record, written durably
//	log        what making the image printed
//
// A job that was waiting or under way when the process was killed begins anew
// after the next Open. Passwords and addresses with credentials are never
// written to the disk; a job that needs them ends as interrupted instead, and
// goes on when it is asked for again.
package imagequeue
