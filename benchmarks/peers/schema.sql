-- The peers' tables, with only the indexes that the workloads need. Tandem has one for each filter and sort.
CREATE TABLE users (
  id TEXT NOT NULL PRIMARY KEY,
  first_name TEXT NOT NULL,
  last_name TEXT,
  age INTEGER NOT NULL,
  email TEXT UNIQUE,
  external_id TEXT UNIQUE,
  active BOOLEAN NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE groups (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT,
  active BOOLEAN NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE memberships (
  user_id TEXT NOT NULL REFERENCES users (id),
  group_id TEXT NOT NULL REFERENCES groups (id),
  role TEXT NOT NULL,
  created_at TEXT NOT NULL,
  PRIMARY KEY (user_id, group_id)
) WITHOUT ROWID;
CREATE INDEX memberships_by_group ON memberships (group_id, user_id);

CREATE TABLE world (id INTEGER PRIMARY KEY, random_number INTEGER NOT NULL);
CREATE TABLE fortune (id INTEGER PRIMARY KEY, message TEXT NOT NULL);
