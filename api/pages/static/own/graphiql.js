// Starts GraphiQL on this server's /graphql, with example operations in its tabs.
// Headers and credentials that are typed in are kept in memory only, until the page is closed.

const EXAMPLES = [
  {
    query: `# People with their groups.
# Press Ctrl-Enter or ⌘↩ to run it.
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
    query: `# People who match a filter.
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
    query: `# Create a person.
# Name and age are under "Variables", below.
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
    query: `# Groups, their total number, and members of each.
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

// Just after a change of tabs GraphiQL still sends the previous operation name: leave it out.
function withValidName({ operationName, ...operation }) {
  return operation.query.includes(operationName) ? { operationName, ...operation } : operation;
}

// The credential from the Authorize field, kept in this variable only.
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
    body: JSON.stringify(withValidName(operation)),
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    return { errors: [{ message: `The server answered ${response.status} without JSON.` }], answer: text };
  }
}

const container = document.getElementById("graphiql");

// The editors have no accessible names: give each that of its region.
new MutationObserver(() => {
  for (const area of container.querySelectorAll("textarea:not([aria-label])")) {
    area.setAttribute("aria-label", area.closest("[aria-label]")?.getAttribute("aria-label") ?? "Editor");
  }
}).observe(container, { childList: true, subtree: true });

const settings = {
  fetcher,
  defaultTabs: tabs,
  defaultEditorToolsVisibility: "variables",
  shouldPersistHeaders: false,
};
const logo = React.createElement(GraphiQL.Logo, null, React.createElement("span"));
const root = ReactDOM.createRoot(container);
let version = 0;
const render = () => root.render(React.createElement(GraphiQL, { ...settings, key: (version += 1) }, logo));
render();

// Another credential may see another schema: restart GraphiQL, so that it fetches the schema again.
document.getElementById("authorize").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.credential;
  credential = field.value.trim();
  field.value = "";
  document.getElementById("authorized").textContent = credential ? "Sent with each request until this page is closed." : "No credential is sent.";
  render();
});
