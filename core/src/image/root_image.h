// build_image() of spore/image.h in a cache of the caller's choice.
#pragma once

#include <functional>
#include <string_view>

#include "image/cache.h"
#include "image/tree.h"
#include "spore/image.h"

namespace spore::image {

Result<Image> build_image_in(const Cache& cache, const ImageSpec& spec,
                             const std::function<void(std::string_view)>& progress);

// What the image of `spec` holds.
Result<Tree> collect(const ImageSpec& spec, const std::string& cache_directory);

// Digest over everything that lstat() says about a tree: no content is read for it.
std::string key_of(const Tree& tree);

}  // namespace spore::image
