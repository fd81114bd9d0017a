import type { Component } from '../component.js'
import { BytePairModel } from './bpe.js'
import { readVocabulary, type TokenModel, type Vocabulary } from './model.js'
import { readScoredVocabulary, UnigramModel } from './unigram.js'
import { WordLevelModel, WordPieceModel } from './word-models.js'

/** A vocabulary, and how to create a model that uses it. */
export interface ModelSource {
  readonly vocabulary: Vocabulary
  /** @param excluded ids that the model must never produce */
  create(excluded: ReadonlySet<number>): TokenModel
}

/**
 * @throws RoutedAttentionError `BAD_FILE`, including for an unknown type and a vocabulary of the wrong type;
 * `UNSUPPORTED`
 */
export function readModel(component: Component): ModelSource {
  switch (component.type === '' ? typeOf(component) : component.type) {
    case 'BPE':
      return source(readVocabulary(component), (vocabulary, excluded) => new BytePairModel(component, vocabulary, excluded))
    case 'WordPiece':
      return source(readVocabulary(component), (vocabulary, excluded) => new WordPieceModel(component, vocabulary, excluded))
    case 'WordLevel':
      return source(readVocabulary(component), (vocabulary, excluded) => new WordLevelModel(component, vocabulary, excluded))
    case 'Unigram':
      return source(readScoredVocabulary(component), (vocabulary, excluded) => new UnigramModel(component, vocabulary, excluded))
    default:
      throw component.unknown()
  }
}

/** Older files have no type; it is inferred from their contents. */
function typeOf(component: Component): string {
  if (!component.isNullOrAbsent('merges')) return 'BPE'
  if (Array.isArray(component.value('vocab'))) return 'Unigram'
  return component.isNullOrAbsent('max_input_chars_per_word') ? 'WordLevel' : 'WordPiece'
}

function source<V extends Vocabulary>(vocabulary: V, create: (vocabulary: V, excluded: ReadonlySet<number>) => TokenModel): ModelSource {
  return { vocabulary, create: (excluded) => create(vocabulary, excluded) }
}
