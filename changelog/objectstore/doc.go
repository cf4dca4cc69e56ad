// Package objectstore keeps checkpoints in a bucket of S3, or of what speaks its
// protocol, or in a folder.
//
// [Open] opens the store that a URL names; it is a changelog.BlobStore:
//
//	s3://bucket/prefix?region=eu-central-1
//	s3://bucket/prefix?region=us-east-1&endpoint=http://127.0.0.1:7070
//	file:///var/lib/millrace/checkpoints
//
// # Credentials
//
// They are never in the URL, which gets logged and committed. AWS's own ways
// count: the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the file that
// AWS_SHARED_CREDENTIALS_FILE names (or ~/.aws/credentials, with profile=NAME in
// the URL), and the role of the machine.
//
// # Caveats
//
// A folder is for tests and for disks that outlive the machine: it is not synced
// after each file, so that a power cut may tear one. Restores compare all files
// with their hashes and do not take it.
package objectstore
