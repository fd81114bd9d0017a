/** Keys of other libraries' configurations, as their models' config.json files have them. */
const common = `_name_or_path architectures model_type torch_dtype dtype transformers_version use_cache bos_token_id eos_token_id pad_token_id sep_token_id
  cls_token_id decoder_start_token_id tie_word_embeddings output_attentions output_hidden_states return_dict torchscript pruned_heads id2label label2id
  num_labels problem_type tokenizer_class is_decoder is_encoder_decoder add_cross_attention chunk_size_feed_forward max_length min_length do_sample
  early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
  encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id
  remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens task_specific_params finetuning_task use_bfloat16
  tf_legacy_loss prefix quantization_config auto_map initializer_range initializer_factor attn_implementation _attn_implementation`

const models = {
  'GPT-2': `activation_function attn_pdrop embd_pdrop layer_norm_epsilon n_ctx n_embd n_head n_inner n_layer n_positions reorder_and_upcast_attn resid_pdrop
    scale_attn_by_inverse_layer_idx scale_attn_weights summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj vocab_size`,
  'Llama and Mistral': `attention_bias attention_dropout head_dim hidden_act hidden_size intermediate_size max_position_embeddings mlp_bias num_attention_heads
    num_hidden_layers num_key_value_heads pretraining_tp rms_norm_eps rope_scaling rope_theta rope_parameters sliding_window vocab_size layer_types`,
  'Mixtral, Qwen MoE, DeepSeek': `decoder_sparse_step first_k_dense_replace kv_lora_rank mlp_only_layers moe_intermediate_size moe_layer_freq n_group
    n_routed_experts n_shared_experts norm_topk_prob num_experts num_experts_per_tok num_local_experts num_nextn_predict_layers output_router_logits
    q_lora_rank qk_nope_head_dim qk_rope_head_dim routed_scaling_factor router_aux_loss_coef router_jitter_noise scoring_func seq_aux
    shared_expert_intermediate_size topk_group topk_method v_head_dim vocab_size hidden_size use_sliding_window max_window_layers`,
  'BERT, ALBERT, XLM': `attention_probs_dropout_prob classifier_dropout embedding_size hidden_dropout_prob hidden_size inner_group_num intermediate_size
    layer_norm_eps max_position_embeddings num_attention_heads num_hidden_groups num_hidden_layers position_embedding_type type_vocab_size vocab_size causal
    asm bos_index emb_dim embed_init_std end_n_top eos_index gelu_activation init_std is_encoder lang_id mask_index mask_token_id n_heads n_langs n_layers
    pad_index sinusoidal_embeddings start_n_top unk_index use_lang_emb dropout`,
  'T5 and BART': `d_ff d_kv d_model dense_act_fn dropout_rate feed_forward_proj is_gated_act layer_norm_epsilon n_positions num_decoder_layers num_heads
    num_layers relative_attention_max_distance relative_attention_num_buckets activation_dropout decoder_attention_heads decoder_ffn_dim decoder_layerdrop
    decoder_layers encoder_attention_heads encoder_ffn_dim encoder_layerdrop encoder_layers scale_embedding vocab_size dropout`,
  Whisper: `apply_spec_augment d_model mask_feature_length mask_feature_min_masks mask_time_length max_source_positions max_target_positions median_filter_width
    num_mel_bins use_weighted_layer_sum classifier_proj_size encoder_layers decoder_layers vocab_size`,
  'Falcon, Bloom, MPT, Phi': `alibi apply_residual_connection_post_layernorm attn_config bias bias_dropout_fusion emb_pdrop embedding_fraction expansion_ratio
    ffn_config flash_attn flash_rotary fused_dense init_config logit_scale masked_softmax_fusion max_seq_len multi_query n_head_kv new_decoder_architecture
    no_bias num_kv_heads num_ln_in_parallel_attn offset_alibi parallel_attn partial_rotary_factor resid_pdrop rotary_dim seq_length
    skip_bias_add skip_bias_add_qkv slow_but_exact unk_index use_flash_attention verbose vocab_size d_model n_heads n_layers learned_pos_emb`,
  'Mamba and RWKV': `attention_hidden_size context_length conv_kernel expand fused_add_norm head_dim hidden_size layer_norm_epsilon n_groups num_heads
    num_hidden_layers pad_vocab_size_multiple rescale_every residual_in_fp32 rms_norm ssm_cfg state_size time_step_floor time_step_init_scheme
    time_step_limit time_step_max time_step_min time_step_rank time_step_scale use_bias use_conv_bias use_mambapy vocab_size attn_cfg attn_layer_idx d_intermediate`,
  'Longformer, BigBird, Reformer': `attention_window attention_type block_size num_random_blocks rescale_embeddings use_bias attn_layers axial_norm_std
    axial_pos_embds axial_pos_embds_dim axial_pos_shape chunk_size_lm_head eos_token_id feed_forward_size hash_seed local_attention_probs_dropout_prob
    local_attn_chunk_length local_num_chunks_after local_num_chunks_before lsh_attention_probs_dropout_prob lsh_attn_chunk_length num_buckets num_hashes
    attention_head_size local_window_size global_attn_every_n_layers local_attention local_rope_theta global_rope_theta`,
  'ViT, CLIP, timm': `hidden_size image_size num_channels patch_size pooler_act pooler_output_size projection_dim logit_scale_init_value qkv_bias depths embed_dim
    mlp_ratio drop_path_rate pre_norm window_size token_mixer num_classes num_features global_pool crop_pct interpolation pretrained_cfg depth`,
  'x-transformers, nanoGPT and training': `attn_dropout attn_flash attn_num_mem_kv block_size cross_attend ema_decay exp_decay ff_dropout ff_glu
    layer_dropout learning_rate lr_decay_iters max_iters min_lr n_embd num_memory_tokens rel_pos_bias rotary_pos_emb rotary_xpos shift_tokens
    use_abs_pos_emb use_rmsnorm use_scalenorm warmup_iters weight_decay window_size batch_size grad_clip eval_iters dim depth heads seq_len dim_head`,
}

const split = (keys: string) => keys.split(/\s+/)

/** By the library or the family of models. */
export const foreignKeys: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries({ transformers: common, ...models }).map(([name, keys]) => [name, split(keys)]),
)
