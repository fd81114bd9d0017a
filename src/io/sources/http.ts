import { RoutedAttentionError } from '../../errors.js'
import type { FileCache } from '../cache/file-cache.js'
import type { Fetch } from '../read-options.js'
import { Download } from './download.js'
import { Host } from './host.js'
import { FileRestarted, type MissingFile, type OpenFile, type Source } from './source.js'
import { StreamFile } from './stream-file.js'

interface HttpOptions {
  fetch: Fetch
  signal: AbortSignal | undefined
  cache: FileCache | undefined
}

const PAGE_START_BYTES = 64

/**
 * A folder served over http(s). The query of its URL is sent with every file's; a user name and password are sent as a
 * header.
 */
export function httpSource(folder: URL, { fetch, signal, cache }: HttpOptions): Source {
  const host = new Host(fetch, signal, credentialsOf(folder))
  const urlOf = (file: string) => {
    const url = new URL(folder)
    url.username = ''
    url.password = ''
    url.hash = ''
    url.pathname = `${url.pathname.replace(/\/$/, '')}/${encodeURIComponent(file)}`
    return url
  }
  return {
    name: folder.origin + folder.pathname,
    isLocal: false,
    open: async (file, { fresh = false, mayBeAbsent = false } = {}) => {
      const url = urlOf(file)
      const entry = cache?.entry(url, file)
      const cached = fresh ? undefined : await entry?.open()
      if (cached) return cached
      const download = new Download(url.pathname, (headers) => host.requestFile(url, headers), signal)
      const opened = new StreamFile(download)
      const keep = entry && ((size: number) => entry.write(size, { wasOptional: mayBeAbsent }))
      const restart = async (): Promise<OpenFile | MissingFile> =>
        (await pageIn(opened)) ?? Object.assign(opened, { restart }, keep && { keep })
      if (!mayBeAbsent) return (await download.begin()) ?? restart()
      let missing: MissingFile | undefined
      try {
        missing = await download.probe()
      } catch (error) {
        if (!isHostFailure(error)) throw error
        if (error.code === 'NETWORK' && (await entry?.isKnownAbsent()))
          return { missing: 'it was not there when the host last answered', isReplaced: false }
        return { missing: error.message, isReplaced: false, failure: error }
      }
      if (missing) await entry?.keepAbsence()
      return missing ?? restart()
    },
  }
}

/** Whether the failure concerns the host rather than the file. */
function isHostFailure(error: unknown): error is RoutedAttentionError {
  return error instanceof RoutedAttentionError && (error.code === 'NETWORK' || error.status !== undefined)
}

function credentialsOf({ username, password }: URL): string | undefined {
  return username === '' && password === '' ? undefined : `${decode(username)}:${decode(password)}`
}

/** Decodes UTF-8 escapes; leaves other percent signs unchanged. */
function decode(escaped: string): string {
  return escaped.replaceAll(/(?:%[\da-f]{2})+/gi, (escapes) => {
    try {
      return decodeURIComponent(escapes)
    } catch {
      return escapes
    }
  })
}

/**
 * Detects a web page in place of a file, which servers of single-page applications send for missing paths. Closes such
 * a file.
 */
async function pageIn(file: StreamFile): Promise<MissingFile | undefined> {
  for (;;) {
    try {
      const start = String.fromCharCode(...(await file.peek(PAGE_START_BYTES)).subarray(0, PAGE_START_BYTES))
      if (!/^(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|body)/i.test(start)) return undefined
      await file.close()
      return { missing: 'an HTML page was sent instead', isReplaced: true }
    } catch (error) {
      if (!(error instanceof FileRestarted)) throw error
    }
  }
}
