// The schema for Mercurius, its resolvers, and the loader that batches nested lists.
export const schema = `
  type Group { id: ID! name: String! description: String active: Boolean! }
  type User {
    id: ID! firstName: String! lastName: String age: Int! email: String externalId: String active: Boolean!
    createdAt: String! updatedAt: String! version: Int!
    groups(first: Int = 20): [Group!]!
  }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type UserConnection { nodes: [User!]! pageInfo: PageInfo! }
  type Query {
    user(id: ID!): User
    users(first: Int = 20, after: String): UserConnection!
  }
`;

const columns =
  "id, first_name AS firstName, last_name AS lastName, age, email, external_id AS externalId, active, " +
  "created_at AS createdAt, updated_at AS updatedAt, version";

export function resolvers(database) {
  const readOne = database.prepare(`SELECT ${columns} FROM users WHERE id = ?`);
  const readPage = database.prepare(`SELECT ${columns} FROM users WHERE id > ? ORDER BY id LIMIT ?`);
  return {
    Query: {
      user: (_, { id }) => readOne.get(id) ?? null,
      users: (_, { first, after }) => {
        const nodes = readPage.all(after ?? "", first + 1);
        const hasNextPage = nodes.length > first;
        if (hasNextPage) nodes.pop();
        return { nodes, pageInfo: { hasNextPage, endCursor: nodes.at(-1)?.id ?? null } };
      },
    },
  };
}

export function loaders(database) {
  const readGroups = database.prepare(
    "SELECT m.user_id AS user, g.id, g.name, g.description, g.active FROM memberships m JOIN groups g ON g.id = m.group_id " +
      "WHERE m.user_id IN (SELECT value FROM json_each(?)) ORDER BY m.user_id, m.group_id",
  );
  return {
    User: {
      async groups(queries) {
        const groups = new Map(queries.map(({ obj }) => [obj.id, []]));
        for (const row of readGroups.all(JSON.stringify([...groups.keys()]))) groups.get(row.user).push(row);
        return queries.map(({ obj, params }) => groups.get(obj.id).slice(0, params.first));
      },
    },
  };
}
