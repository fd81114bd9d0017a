import { RoutedAttentionError } from '../errors.js'
import type { MissingFile, Source } from './sources/source.js'

/**
 * The error for files that a model needs.
 * @param tries number of attempts made
 */
export function missingFiles(source: Source, files: readonly [string, MissingFile][], tries = 1): RoutedAttentionError {
  const named = files.slice(0, 20).map(([name, { missing }]) => `${name} (${missing})`)
  if (files.length > named.length) named.push('and more')
  const failure = files.find(([, file]) => file.failure)?.[1].failure
  const status = failure?.status ?? files.find(([, file]) => file.status !== undefined)?.[1].status
  const tried = tries > 1 ? `; it was tried ${tries} times` : ''
  return new RoutedAttentionError(
    failure?.code ?? 'BAD_FILE',
    `the model in ${source.name} ${failure ? 'cannot be read without' : 'lacks'} ${named.join(', ')}${tried}`,
    failure ? { cause: failure, status } : { status },
  )
}
