// @ts-check

/** Where the model seems to lie; `weightsFetch` reads below it. */
export const WEIGHTS_URL = new URL('https://weights.example/')

/**
 * Reads the model's files from the R2 bucket `WEIGHTS`, below the folder that `MODEL` names, or from static assets, if
 * there are any.
 * @param {Env} env
 * @returns {import('routed-attention').Fetch}
 */
export function weightsFetch({ WEIGHTS, ASSETS, MODEL }) {
  return async (url, init) => {
    const name = `${MODEL}${new URL(String(url)).pathname}`
    if (ASSETS) return ASSETS.fetch(new URL(name, WEIGHTS_URL), { headers: init.headers })
    const headers = new Headers(init.headers)
    const object = await WEIGHTS.get(name, { range: headers, onlyIf: headers })
    if (!object) return new Response(null, { status: 404 })
    if (!('body' in object)) return new Response(null, { status: 412 })
    const { range, size, httpEtag } = object
    const answer = new Headers({ etag: httpEtag, 'accept-ranges': 'bytes' })
    if (!headers.has('range') || !range || !('offset' in range)) {
      answer.set('content-length', String(size))
      return new Response(object.body, { headers: answer })
    }
    const { offset = 0, length = size - offset } = range
    answer.set('content-range', `bytes ${offset}-${offset + length - 1}/${size}`)
    answer.set('content-length', String(length))
    return new Response(object.body, { status: 206, headers: answer })
  }
}
