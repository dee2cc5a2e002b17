// Package store keeps what must survive: every value sealed under its key,
// every verb atomic, one contract suite that every backend passes. It hands
// its neighbours verbs and sealed tokens, never a transaction or a key.
//
// One data directory has one owner: ostiary.db is a bbolt file that is locked
// while a Store is open. Three rules follow from what bbolt does and doesn't
// promise:
//
//   - bbolt doesn't notice changed bytes, so every value is sealed with its
//     bucket and key as associated data, and Open reads everything once.
//   - bbolt may keep a transaction whose commit returned an error, so after
//     such an error nothing more is written until the store was opened anew.
//   - bbolt maps the file, and a short file kills the process, so Open walks
//     the file by hand before it lets bbolt have it.
package store
