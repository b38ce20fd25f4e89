// Starts GraphiQL on this server's own /graphql, with a few operations to run in its tabs.
// Headers typed into it, and with them credentials, live in this page alone and are gone with it.

const EXAMPLES = [
  {
    query: `# People with their groups.
# Ctrl-Enter or ⌘↩ runs it.
query PeopleWithGroups {
  users(first: 10) {
    nodes {
      id
      firstName
      lastName
      groups {
        edges {
          role
          node {
            name
          }
        }
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
  },
  {
    query: `# People who fit a filter.
# The filter is under "Variables", below.
query FindPeople($filter: UserFilter) {
  users(filter: $filter, first: 10) {
    nodes {
      id
      firstName
      lastName
      age
    }
  }
}
`,
    variables: { filter: { age: { gte: 18 }, firstName: { startswith: "a" } } },
  },
  {
    query: `# A new person, whom the first tab will list.
# Their name and age are under "Variables", below.
mutation CreateUser($input: CreateUserInput!) {
  createUser(input: $input) {
    user {
      id
      version
    }
  }
}
`,
    variables: { input: { firstName: "Ada", age: 36 } },
  },
  {
    query: `# Groups, their number, and members of each.
query Groups {
  groups(first: 10) {
    totalCount
    nodes {
      id
      name
      members(first: 5) {
        edges {
          role
          node {
            firstName
            lastName
          }
        }
      }
    }
  }
}
`,
  },
];

const tabs = EXAMPLES.map(({ query, variables }) => ({
  query,
  variables: variables ? JSON.stringify(variables, null, 2) : "",
}));

// For a moment after a change of tabs GraphiQL still sends the name of the operation before: it is left out then.
function named({ operationName, ...operation }) {
  return operation.query.includes(operationName) ? { operationName, ...operation } : operation;
}

// What is typed into the Authorize field lives in this variable and nowhere else: it is gone with the page.
let credential = "";

async function fetcher(operation, { headers } = {}) {
  const response = await fetch(new URL("graphql", document.baseURI), {
    method: "POST",
    headers: {
      ...(credential && { Authorization: `Bearer ${credential}` }),
      ...headers,
      Accept: "application/graphql-response+json, application/json",
      "Content-Type": "application/json",
    },
    body: JSON.stringify(named(operation)),
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { errors: [{ message: `The server answered ${response.status} without JSON.` }], answer: text };
  }
}

const place = document.getElementById("graphiql");

// The editors have no names for a screen reader: each takes that of the region it is in.
new MutationObserver(() => {
  for (const area of place.querySelectorAll("textarea:not([aria-label])")) {
    area.setAttribute("aria-label", area.closest("[aria-label]")?.getAttribute("aria-label") ?? "Editor");
  }
}).observe(place, { childList: true, subtree: true });

const settings = {
  fetcher,
  defaultTabs: tabs,
  defaultEditorToolsVisibility: "variables",
  shouldPersistHeaders: false,
};
const logo = React.createElement(GraphiQL.Logo, null, React.createElement("span"));
const root = ReactDOM.createRoot(place);
let visits = 0;
const show = () => root.render(React.createElement(GraphiQL, { ...settings, key: (visits += 1) }, logo));
show();

// With another credential the schema may be another: GraphiQL starts anew and asks for it.
document.getElementById("authorize").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.credential;
  credential = field.value.trim();
  field.value = "";
  document.getElementById("authorized").textContent = credential ? "Sent with each request, until you leave." : "None is sent.";
  show();
});
