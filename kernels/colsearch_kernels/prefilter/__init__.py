"""What does a learned prefilter compute? Features and vectors of queries, and inner products with product-quantized documents."""
