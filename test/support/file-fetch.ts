import type { Fetch } from '../../src/io/read-options.js'

/** Answers from these files; `change` may answer otherwise. `asked` lists the URLs. */
export function fetchOf(
  files: ReadonlyMap<string, Uint8Array>,
  change: (name: string, bytes: Uint8Array | undefined) => Response | undefined = () => undefined,
): { fetch: Fetch; asked: string[] } {
  const asked: string[] = []
  const fetch: Fetch = async (url) => {
    asked.push(url)
    const name = decodeURIComponent(new URL(url).pathname.split('/').at(-1))
    const bytes = files.get(name) as Uint8Array<ArrayBuffer> | undefined
    return change(name, bytes) ?? (bytes ? new Response(bytes) : new Response('Not found', { status: 404 }))
  }
  return { fetch, asked }
}
