import type { Fetch } from '../../src/io/read-options.js'

/**
 * `fetch` of another origin's file as a browser lets a page see it: a few headers, and those that the server exposes.
 * @param mayResume whether the host allows headers that are not plain
 */
export function asPage(exposed: readonly string[], mayResume = true): Fetch {
  return async (url, init) => {
    if (init.headers && !mayResume) throw new TypeError('Failed to fetch')
    const response = await fetch(url, init)
    const visible = ['content-length', 'content-type', 'last-modified', ...exposed]
    const headers = new Headers([...response.headers].filter(([name]) => visible.includes(name)))
    return Object.defineProperties(response, { type: { value: 'cors' }, headers: { value: headers } })
  }
}
